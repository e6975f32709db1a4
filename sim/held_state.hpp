#pragma once

#include "core/types.hpp"
#include "sim/metrics/merged_damage.hpp"
#include "trace/decisions.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kvtape {

/// A flag for each of the tokens that a decision could keep: whether it did.
using Kept = std::vector<char>;

/// What one KV head holds after one block.
struct HeldState {
    Kept kept;
    MergedRows merged;  ///< of entries that are kept
};

/// After block `moment`, over the tokens before `end`, the end of that block. `tokens` is the
/// length of a row of `fate`; merged rows are `dim` wide.
HeldState held_state(const LayerFate& fate,
                     std::int32_t kv_head,
                     std::size_t tokens,
                     std::int32_t moment,
                     std::size_t end,
                     Eigen::Index dim);

/// Index of the last block at whose end a schedule decides before the answer begins: the last one
/// of the prompt, or the first where there is one decision.
std::int32_t deciding_block(std::string_view schedule, std::span<const Block> blocks);

}  // namespace kvtape
