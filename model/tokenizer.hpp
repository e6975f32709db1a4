#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// Token ids with the bytes of the text each one covers.
struct Encoding {
    std::vector<std::int32_t> ids;
    std::vector<std::int64_t> begins;  ///< byte offset of token i in the text
    std::vector<std::int64_t> ends;    ///< one past its last byte
};

/// A byte-level BPE tokenizer read from `tokenizer.json`. Pipeline pieces it does not know are
/// format errors that name the piece.
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
    /// The bytes of one token, exactly as they stood in the text.
    std::string bytes_of(std::int32_t id) const;
    /// The bytes of all, concatenated; special tokens are left out.
    std::string decode(std::span<const std::int32_t> ids) const;
    bool is_special(std::int32_t id) const;
    std::int32_t vocabulary_size() const;

  private:
    struct State;
    explicit Tokenizer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace kvtape::model
