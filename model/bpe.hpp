#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kvtape::model {

/// Byte-pair encoding over bytes: a vocabulary of byte strings and merges in order of rank.
class Bpe {
  public:
    struct Token {
        std::int32_t id = 0;
        std::size_t bytes = 0;
    };

    /// `entries` maps byte strings to ids. With `whole_first`, a piece that is an entry itself is
    /// not merged (`ignore_merges`).
    Bpe(std::unordered_map<std::string, std::int32_t> entries, bool whole_first);

    /// Adds the next merge; false when a part or the result is not an entry. A pair that came
    /// before takes the new rank.
    bool add_merge(const std::string& left, const std::string& right);

    /// Appends the tokens of one piece, in order. A byte without an entry is a format error.
    void encode(std::string_view piece, std::vector<Token>& out) const;

  private:
    struct Merge {
        std::int32_t rank = 0;
        std::int32_t result = 0;
    };
    const Merge* find(std::int32_t left, std::int32_t right) const;

    std::unordered_map<std::string, std::int32_t> entries_;
    std::unordered_map<std::uint64_t, Merge> merges_;
    std::array<std::int32_t, 256> byte_ids_;
    std::int32_t next_rank_ = 0;
    bool whole_first_;
};

}  // namespace kvtape::model
