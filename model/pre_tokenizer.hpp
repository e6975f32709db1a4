#pragma once

#include "core/json.hpp"
#include "model/regex.hpp"

#include <string_view>
#include <vector>

namespace kvtape::model {

/// Cuts text into the pieces that merges never cross: the `pre_tokenizer` of a tokenizer.json.
/// Knows `Split` with an isolated expression, `Digits`, `ByteLevel` without a prefix space and
/// `Sequence` of these. Pieces are views into the text and cover all of it.
class PreTokenizer {
  public:
    /// `field` is the JSON value (null: the text is one piece); `what` names the file.
    PreTokenizer(const Json& field, std::string_view what);

    std::vector<std::string_view> split(std::string_view text) const;

  private:
    void add(const Json& piece, std::string_view what, int depth);

    std::vector<Regex> splits_;
    bool byte_level_ = false;
};

}  // namespace kvtape::model
