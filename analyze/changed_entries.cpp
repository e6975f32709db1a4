#include "analyze/changed_entries.hpp"

#include <algorithm>
#include <cstddef>
#include <map>

namespace kvtape {
namespace {

/// For each changed token its row once `moment` tokens are through: that of the last change.
std::map<Position, std::size_t> changed_rows(const ChangedLayer& layer,
                                             std::int32_t kv_head,
                                             Position moment) {
    std::map<Position, std::size_t> rows;
    for (std::size_t row = 0; row < layer.entries.entries.size(); ++row) {
        const auto [block, head, position] = layer.entries.entries[row];
        if (head == kv_head && layer.blocks[static_cast<std::size_t>(block)].end <= moment)
            rows[position] = row;
    }
    return rows;
}

std::span<const float> row_of(const std::vector<float>& all, std::size_t row, std::size_t rows) {
    const std::size_t width = all.size() / rows;
    return std::span(all).subspan(row * width, width);
}

bool same_row(const MergedEntries& a, std::size_t in_a, const MergedEntries& b, std::size_t in_b) {
    const auto same = [&](const std::vector<float>& of_a, const std::vector<float>& of_b) {
        const auto x = row_of(of_a, in_a, a.entries.size());
        const auto y = row_of(of_b, in_b, b.entries.size());
        return std::equal(x.begin(), x.end(), y.begin(), y.end());
    };
    return same(a.keys, b.keys) && same(a.values, b.values);
}

}  // namespace

std::int64_t changed_differently(const ChangedLayer& a,
                                 const ChangedLayer& b,
                                 std::int32_t kv_head,
                                 std::span<const Keeper> keeper) {
    const auto moment = static_cast<Position>(keeper.size());
    const auto rows_a = changed_rows(a, kv_head, moment), rows_b = changed_rows(b, kv_head, moment);
    std::int64_t count = 0;
    for (Position token = 0; token < moment; ++token) {
        if (keeper[static_cast<std::size_t>(token)] != Keeper::both)
            continue;
        const auto in_a = rows_a.find(token), in_b = rows_b.find(token);
        const bool is_in_a = in_a != rows_a.end(), is_in_b = in_b != rows_b.end();
        const bool same = is_in_a && is_in_b
                              ? same_row(a.entries, in_a->second, b.entries, in_b->second)
                              : is_in_a == is_in_b;
        count += same ? 0 : 1;
    }
    return count;
}

}  // namespace kvtape
