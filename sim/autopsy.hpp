#pragma once

#include "core/types.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// Why one needle token is gone (metrics.md, section 1).
struct LostToken {
    Position position = 0;
    std::int32_t block = 0;                ///< at whose end it left
    std::optional<double> score, cut_off;  ///< cut_off: the lowest score that was kept
    std::optional<std::int64_t> rank;      ///< 1 = best of the context, ties to the lower position
};

/// The lost tokens among `needle` of one KV head, ascending. `evicted_at` and `scores` are its rows
/// of a decision file, over the context.
std::vector<LostToken> autopsy(std::span<const Position> needle,
                               std::span<const std::int32_t> evicted_at,
                               std::span<const float> scores);

}  // namespace kvtape
