#pragma once

#include "tools/bench/measure.hpp"

namespace kvtape::bench {

/// What this machine can do, measured: the yardsticks of the other figures.
struct Peaks {
    double read_bytes_per_second = 0.0;  ///< summing a tensor far larger than the caches
    double flops_per_second = 0.0;       ///< independent fused multiply-adds in registers, float32
    Times read;
    Times multiply;
};
Peaks measure_peaks(const Setting& setting);

}  // namespace kvtape::bench
