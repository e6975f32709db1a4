#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kvtape::model {

/// Looks strings up by views.
struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
        return std::hash<std::string_view>()(text);
    }
};
using TokenIds = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

/// Byte-pair encoding over characters: a vocabulary of strings and merges in order of rank.
class Bpe {
  public:
    struct Token {
        std::int32_t id = 0;
        std::size_t bytes = 0;
    };
    enum class Alphabet {
        bytes,       ///< pieces are written in the byte-level alphabet
        characters,  ///< a character without an entry becomes its bytes, `<0x00>` to `<0xFF>`
    };

    /// With `whole_first`, a piece that is an entry itself is not merged (`ignore_merges`).
    Bpe(TokenIds entries, Alphabet alphabet, bool whole_first);

    /// The first of the tokens `<0x00>` to `<0xFF>` that has no entry; empty: all have.
    std::string missing_byte() const;

    /// Adds the next merge; false when a part or the result is not an entry. A pair that came
    /// before takes the new rank.
    bool add_merge(std::string_view left, std::string_view right);

    /// Appends the tokens of one piece, in order. A byte without an entry is a format error.
    void encode(std::string_view piece, std::vector<Token>& out) const;

  private:
    struct Merge {
        std::int32_t rank = 0;
        std::int32_t result = 0;
    };
    struct Symbol;
    const Merge* find(std::int32_t left, std::int32_t right) const;
    std::vector<Symbol> symbols_of(std::string_view piece) const;
    void merge(std::vector<Symbol>& symbols) const;

    TokenIds entries_;
    std::unordered_map<std::uint64_t, Merge> merges_;
    std::array<std::int32_t, 256> byte_ids_{};  ///< of `<0x00>` to `<0xFF>`
    Alphabet alphabet_;
    std::int32_t next_rank_ = 0;
    bool whole_first_;
};

/// `<0x0A>` for 10.
std::string byte_token(unsigned char byte);

}  // namespace kvtape::model
