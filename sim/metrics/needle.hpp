#pragma once

#include "sim/metrics/damage.hpp"
#include "trace/trace.hpp"

#include <span>
#include <vector>

namespace kvtape {

/// Context positions of the needles asked for (spans of kind needle), ascending.
std::vector<Position> needle_positions(const SequenceInfo& sequence);

/// The weight m of a KV head (metrics.md, section 1): the probability that the answer-producing
/// queries put on the needle in the full run, mean over those rows and the query heads of the
/// group. `attention` holds the weights [answer rows, T] of each query head (sim/probes.hpp).
double needle_weight(std::span<const MatrixView> attention, std::span<const Position> needle);

/// How many needle tokens each budget keeps.
std::vector<std::int32_t> needle_kept(std::span<const Position> needle, const NestedSets& sets);

}  // namespace kvtape
