#pragma once

#include <span>

namespace kvtape {

/// A mean with its 95 % interval.
struct Interval {
    double mean = 0.0;
    double low = 0.0;
    double high = 0.0;
};

constexpr int bootstrap_resamples = 10'000;
constexpr unsigned bootstrap_seed = 0;

/// Percentile bootstrap of the mean over sequences: 10,000 resamples drawn by Philox (seed 0, one
/// word per draw). The draws depend on the number of values alone, so intervals of two policies
/// over the same sequences are paired. One value gives an interval of no width.
Interval bootstrap_mean(std::span<const double> values);

}  // namespace kvtape
