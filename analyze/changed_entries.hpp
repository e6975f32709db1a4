#pragma once

#include "analyze/head_diff.hpp"
#include "trace/decisions.hpp"

#include <cstdint>
#include <span>

namespace kvtape {

/// What one side changed in a layer: entries that took others in, keys that were turned.
struct ChangedLayer {
    const MergedEntries& entries;
    std::span<const Block> blocks;
};

/// Tokens of one KV head that both sides hold (`keeper`, by token before a moment), and whose keys
/// or values differ then: one side has them as they were recorded and the other changed them, or
/// each changed them to something else.
std::int64_t changed_differently(const ChangedLayer& a,
                                 const ChangedLayer& b,
                                 std::int32_t kv_head,
                                 std::span<const Keeper> keeper);

}  // namespace kvtape
