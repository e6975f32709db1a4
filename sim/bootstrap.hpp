#pragma once

#include <limits>
#include <span>

namespace kvtape {

/// A mean with its 95 % interval; the ends are NaN where there is none.
struct Interval {
    double mean = 0.0;
    double low = std::numeric_limits<double>::quiet_NaN();
    double high = std::numeric_limits<double>::quiet_NaN();
};

constexpr int bootstrap_resamples = 10'000;
constexpr unsigned bootstrap_seed = 0;

/// Percentile bootstrap of the mean over sequences: 10,000 resamples drawn by Philox (seed 0, one
/// word per draw). The draws depend on the number of values alone, so intervals of two policies
/// over the same sequences are paired. One value says nothing about others and
/// gives no interval.
Interval bootstrap_mean(std::span<const double> values);

}  // namespace kvtape
