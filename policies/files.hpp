#pragma once

#include "core/score_table.hpp"

#include <memory>
#include <string>

namespace kvtape {

/// What files hold that parameters of policies name. Policies never open files themselves: whoever
/// makes them does, and answers for their content.
class Files {
  public:
    virtual ~Files() = default;
    /// A file of scores that belongs to the trace the policy will be replayed over. Everything
    /// about it was checked: what does not fit is a format error.
    virtual std::shared_ptr<const ScoreTable> scores(const std::string& path) const = 0;
    /// The whole of a small text file.
    virtual std::string text(const std::string& path) const = 0;
};

}  // namespace kvtape
