#pragma once

#include "core/types.hpp"
#include "tools/bench/measure.hpp"

namespace kvtape::bench {

/// Choosing a tenth of `tokens` random vectors of `dim` channels by laser_kv's hashes (10 bits in 8
/// tables) beside a question of 64: projections, buckets, and equal bits counted in packed words,
/// on one thread.
Json bench_hashes(const Setting& setting, Position tokens, std::int32_t dim);

}  // namespace kvtape::bench
