#pragma once

#include "core/types.hpp"
#include "tools/bench/measure.hpp"

namespace kvtape::bench {

/// What adakv does besides scoring, over a layer of random scores for every KV head: ranking all
/// entries of the layer, sharing out the budget, and choosing in each head, at one budget and
/// at 32.
Json bench_allocation(const Setting& setting, const Shape& shape, Position tokens);

}  // namespace kvtape::bench
