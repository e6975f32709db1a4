#pragma once

#include "policies/files.hpp"
#include "trace/trace.hpp"

namespace kvtape {

/// Opens what parameters of policies name, for replays over `trace`. Files that cannot be read are
/// io errors.
class PolicyFiles final : public Files {
  public:
    explicit PolicyFiles(const Trace& trace) : trace_(trace) {}

    std::shared_ptr<const ScoreTable> scores(const std::string& path) const override;
    std::string text(const std::string& path) const override;

  private:
    const Trace& trace_;
};

}  // namespace kvtape
