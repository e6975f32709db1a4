#pragma once

#include "core/types.hpp"
#include "tools/bench/peaks.hpp"

#include <vector>

namespace kvtape::bench {

/// A layer of random numbers in memory.
struct LayerSize {
    Shape shape;
    Position tokens = 0;
    Position window = 64;  ///< recorded queries at the end
};

/// The peaks of this machine over the keys and values of the layer, then one row per policy spec:
/// the time one `Session::observe` takes over the layer, the bytes it
/// reads and the multiply-adds of its products, each as a share of the measured peak; and the time
/// with the decisions at one budget and, for policies that do not merge, at 32. Where a scorer
/// reads less than 64 MiB, it reads a cache and no memory: the row says so in `no_share` instead of
/// giving a share.
void bench_scorers(const Setting& setting,
                   const LayerSize& size,
                   const std::vector<std::string>& specs,
                   const Report& report);

}  // namespace kvtape::bench
