#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// Token ids with the bytes of the text each one covers. Ranges never go backwards. A token that
/// stands for bytes of its own (`▁` before the first word) has the range of the byte behind
/// it, a character that is composed of several that of the first.
struct Encoding {
    std::vector<std::int32_t> ids;
    std::vector<std::int64_t> begins;  ///< byte offset of token i in the text
    std::vector<std::int64_t> ends;    ///< one past its last byte
};

/// A BPE tokenizer read from `tokenizer.json`, byte-level or with byte fallback. Pipeline pieces it
/// does not know are format errors that name the piece.
class Tokenizer {
  public:
    static Tokenizer load(const std::filesystem::path& tokenizer_json);
    static Tokenizer parse(std::string_view json, std::string_view what);
    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    /// Ids and byte ranges. Added tokens such as `<s>` are recognised in the text.
    /// Invalid UTF-8 is a format error that names the byte.
    Encoding encode(std::string_view text) const;
    /// The same with the tokens that the template puts before and behind the text; their ranges are
    /// empty.
    Encoding encode_in_template(std::string_view text) const;
    /// What the template puts before a text, as text; nothing where the file has no template.
    std::optional<std::string> template_prefix() const;
    /// The bytes of one token, as they stand in text: a space for `▁`, the byte for `<0x0A>`. An id
    /// without a token, as models with a padded vocabulary may generate, has none.
    std::string bytes_of(std::int32_t id) const;
    /// The bytes of all, concatenated; special tokens and ids without a token are left out.
    std::string decode(std::span<const std::int32_t> ids) const;
    bool is_special(std::int32_t id) const;
    std::int32_t vocabulary_size() const;

  private:
    struct State;
    explicit Tokenizer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace kvtape::model
