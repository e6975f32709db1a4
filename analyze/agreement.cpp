#include "analyze/agreement.hpp"

#include <algorithm>

namespace kvtape {
namespace {

/// Whether a token that left at the end of block `evicted_at` is there at the end of `block`.
bool kept(std::int32_t evicted_at, std::int32_t block) {
    return evicted_at < 0 || evicted_at > block;
}

}  // namespace

std::vector<Block> common_blocks(std::span<const Block> a, std::span<const Block> b) {
    const auto ends = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    return {a.begin(), ends.first};
}

std::vector<SetSizes> agreement(const HeadFate& a,
                                const HeadFate& b,
                                std::span<const Block> blocks) {
    std::vector<SetSizes> found;
    for (std::int32_t block = 0; block < std::ssize(blocks); ++block) {
        SetSizes& sizes = found.emplace_back();
        const auto end = static_cast<std::size_t>(blocks[static_cast<std::size_t>(block)].end);
        for (std::size_t token = 0; token < end; ++token) {
            const bool in_a = kept(a.evicted_at[token], block);
            const bool in_b = kept(b.evicted_at[token], block);
            sizes.a += in_a ? 1 : 0;
            sizes.b += in_b ? 1 : 0;
            sizes.both += in_a && in_b ? 1 : 0;
        }
    }
    return found;
}

std::optional<Position> first_difference(const HeadFate& a,
                                         const HeadFate& b,
                                         std::span<const Block> blocks,
                                         std::int32_t block) {
    const Position end = blocks[static_cast<std::size_t>(block)].end;
    for (Position token = 0; token < end; ++token) {
        const auto at = static_cast<std::size_t>(token);
        if (kept(a.evicted_at[at], block) != kept(b.evicted_at[at], block))
            return token;
    }
    return std::nullopt;
}

}  // namespace kvtape
