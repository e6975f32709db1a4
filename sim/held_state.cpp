#include "sim/held_state.hpp"

#include <algorithm>
#include <map>

namespace kvtape {
namespace {

/// The last merge up to `moment` of every entry that is kept then.
MergedRows merged_of(const MergedEntries& merged,
                     std::int32_t kv_head,
                     std::int32_t moment,
                     const Kept& kept,
                     Eigen::Index dim) {
    std::map<Position, Eigen::Index> rows;
    for (std::size_t i = 0; i < merged.entries.size(); ++i) {
        const auto [block, head, position] = merged.entries[i];
        if (block <= moment && head == kv_head && kept[static_cast<std::size_t>(position)] != 0)
            rows[position] = static_cast<Eigen::Index>(i);
    }
    MergedRows found{.positions = {},
                     .keys = Matrix(std::ssize(rows), dim),
                     .values = Matrix(std::ssize(rows), dim)};
    for (const auto& [position, row] : rows) {
        const auto to = std::ssize(found.positions);
        found.keys.row(to) = view(merged.keys.data() + row * dim, 1, dim);
        found.values.row(to) = view(merged.values.data() + row * dim, 1, dim);
        found.positions.push_back(position);
    }
    return found;
}

}  // namespace

HeldState held_state(const LayerFate& fate,
                     std::int32_t kv_head,
                     std::size_t tokens,
                     std::int32_t moment,
                     std::size_t end,
                     Eigen::Index dim) {
    const auto evicted_at =
        std::span(fate.evicted_at).subspan(static_cast<std::size_t>(kv_head) * tokens, end);
    Kept kept(end);
    std::transform(evicted_at.begin(), evicted_at.end(), kept.begin(), [&](std::int32_t block) {
        return static_cast<char>(block == -1 || block > moment);
    });
    MergedRows merged = merged_of(fate.merged, kv_head, moment, kept, dim);
    return {.kept = std::move(kept), .merged = std::move(merged)};
}

std::int32_t deciding_block(std::string_view schedule, std::span<const Block> blocks) {
    if (schedule == "prefill" || schedule == "prompt")
        return 0;
    const auto decoding = std::find_if(
        blocks.begin(), blocks.end(), [](const Block& block) { return block.decoding; });
    return std::max(0, static_cast<std::int32_t>(decoding - blocks.begin()) - 1);
}

}  // namespace kvtape
