#pragma once

#include "core/types.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace kvtape {

/// The order in which tokens are kept: score descending, then index ascending. Total, so every
/// selection below is unique. A NaN score is an internal error, not an order.

/// Indices of the `count` best scores, ascending. `count` is clamped to `[0, scores.size()]`.
std::vector<Position> select_top(std::span<const float> scores, std::ptrdiff_t count);

/// All indices, best first.
std::vector<Position> rank(std::span<const float> scores);

/// The place of every index in `order`, a permutation: the inverse of `rank`.
std::vector<Position> places(std::span<const Position> order);

}  // namespace kvtape
