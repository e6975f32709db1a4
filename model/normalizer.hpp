#pragma once

#include "core/json.hpp"
#include "model/aligned_text.hpp"

#include <functional>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// Rewrites text before it is split: the `normalizer` of a tokenizer.json. Knows `NFC`, `Prepend`,
/// `Replace` of a string and `Sequence` of these.
class Normalizer {
  public:
    /// `field` is the JSON value (null: text stays as it is); `what` names the file.
    Normalizer(const Json& field, std::string_view what);

    void apply(AlignedText& text) const;

  private:
    void add(const Json& field, std::string_view what, int depth);

    std::vector<std::function<void(AlignedText&)>> steps_;
};

}  // namespace kvtape::model
