#pragma once

#include "tools/bench/measure.hpp"

#include <span>
#include <vector>

namespace kvtape::bench {

/// What this machine can do, measured: the yardsticks of the other figures.
struct Peaks {
    double read_bytes_per_second = 0.0;  ///< summing a tensor, which should exceed the caches
    double flops_per_second = 0.0;       ///< independent fused multiply-adds in registers, float32
    Times read;
    Times multiply;
};
Peaks measure_peaks(const Setting& setting, std::span<const float> tensor);
/// The peaks as rows: `read memory` and `fused multiply-adds`.
std::vector<Json> peak_rows(const Setting& setting, const Peaks& peaks);

}  // namespace kvtape::bench
