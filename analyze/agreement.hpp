#pragma once

#include "analyze/head_diff.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// The blocks that two runs have in common, from the first on.
std::vector<Block> common_blocks(std::span<const Block> a, std::span<const Block> b);

/// What two runs keep of one KV head at the end of each of `blocks`, which both went through
/// (metrics.md, section 6). Tokens behind the blocks do not count, so the runs may have ended at
/// different tokens.
std::vector<SetSizes> agreement(const HeadFate& a,
                                const HeadFate& b,
                                std::span<const Block> blocks);

/// The first token that one run keeps at the end of block `block` and the other does not.
std::optional<Position> first_difference(const HeadFate& a,
                                         const HeadFate& b,
                                         std::span<const Block> blocks,
                                         std::int32_t block);

}  // namespace kvtape
