#pragma once

#include "core/json.hpp"
#include "model/aligned_text.hpp"
#include "model/regex.hpp"

#include <functional>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// Cuts text into the pieces that merges never cross: the `pre_tokenizer` of a tokenizer.json.
/// Knows `Split` with an isolated expression, `Digits`, `Metaspace`, `ByteLevel` and `Sequence` of
/// these. Pieces cover all of the text.
class PreTokenizer {
  public:
    /// `field` is the JSON value (null: the text is one piece); `what` names the file.
    PreTokenizer(const Json& field, std::string_view what);

    /// Whether pieces are written in the byte-level alphabet.
    bool byte_level() const { return byte_level_; }
    std::vector<AlignedText> split(AlignedText text) const;

  private:
    using Pieces = std::vector<AlignedText>;

    void add(const Json& piece, std::string_view what, int depth);
    void add_metaspace(const Json& piece, const std::string& where);
    void add_byte_level(const Json& piece, const std::string& where);
    void add_cut(Regex expression);

    std::vector<std::function<void(AlignedText, Pieces&)>> steps_;
    bool byte_level_ = false;
};

}  // namespace kvtape::model
