#pragma once

#include "trace/trace.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// Context positions of the needles asked for (spans of kind needle), ascending.
std::vector<Position> needle_positions(const SequenceInfo& sequence);

/// The weight m of a KV head (metrics.md, section 1): the probability that the answer-producing
/// queries put on the needle in the full run, mean over those rows and the query heads of the
/// group. `attention` holds the weights [answer rows, T] of each query head (sim/probes.hpp).
double needle_weight(std::span<const MatrixView> attention, std::span<const Position> needle);

/// What the answer-producing queries read of the needle, token by token: [needle], the same mean.
/// It adds up to needle_weight, up to rounding.
std::vector<double> needle_attention(std::span<const MatrixView> attention,
                                     std::span<const Position> needle);

/// The share of `attention` (of needle_attention) that falls on kept tokens, exactly 1 where all
/// are kept; 0 where there is no attention. `kept` as below.
double needle_read(std::span<const double> attention,
                   std::span<const Position> needle,
                   std::span<const char> kept);

/// How many needle tokens are kept; `kept` is a flag for each token of the context at least.
std::int64_t needle_kept(std::span<const Position> needle, std::span<const char> kept);

}  // namespace kvtape
