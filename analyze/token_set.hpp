#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// A set of tokens, one bit each.
class TokenSet {
  public:
    TokenSet() = default;
    /// Of the tokens whose flag is set.
    explicit TokenSet(std::span<const char> member) : words_((member.size() + 63) / 64, 0) {
        for (std::size_t t = 0; t < member.size(); ++t)
            words_[t / 64] |= std::uint64_t{member[t] != 0 ? 1u : 0u} << t % 64;
    }

    std::int64_t count() const {
        std::int64_t sum = 0;
        for (const std::uint64_t word : words_)
            sum += std::popcount(word);
        return sum;
    }
    std::span<const std::uint64_t> words() const { return words_; }

  private:
    std::vector<std::uint64_t> words_;
};

/// Intersection over union of two sets over as many tokens; 1 for two empty ones.
inline double jaccard(const TokenSet& a, const TokenSet& b) {
    std::int64_t both = 0, either = 0;
    for (std::size_t i = 0; i < a.words().size(); ++i) {
        both += std::popcount(a.words()[i] & b.words()[i]);
        either += std::popcount(a.words()[i] | b.words()[i]);
    }
    return either == 0 ? 1.0 : static_cast<double>(both) / static_cast<double>(either);
}

}  // namespace kvtape
