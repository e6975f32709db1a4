#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace kvtape {

/// A mean with its 95 % interval; the ends are NaN where there is none.
struct Interval {
    double mean = 0.0;
    double low = std::numeric_limits<double>::quiet_NaN();
    double high = std::numeric_limits<double>::quiet_NaN();
};

/// A resample of n values is the smallest alone with probability n^-n. Below four that is more than
/// one in forty, so the ends would just be the smallest and the largest value: no 95 % interval.
constexpr unsigned bootstrap_least = 4;
constexpr int bootstrap_resamples = 10'000;
constexpr unsigned bootstrap_seed = 0;

/// Percentile bootstrap of the mean over sequences: 10,000 resamples drawn by Philox (seed 0, one
/// word per draw). The draws depend on the number of values alone, so intervals of two policies
/// over the same sequences are paired. Fewer than four values give no interval.
Interval bootstrap_mean(std::span<const double> values);

/// `bootstrap_mean` for many rows of values, with the same bits: resamples are drawn once for every
/// number of values. Any thread may use it.
class Bootstrap {
  public:
    Interval mean(std::span<const double> values) const;
    /// `mean` of each, with less work where they have as many values.
    std::vector<Interval> means(std::span<const std::vector<double>> columns) const;

  private:
    using Draws = std::vector<std::uint32_t>;  ///< [resamples / lanes, count, lanes]: indices
    const Draws& draws(std::uint32_t count) const;

    mutable std::mutex guard_;
    mutable std::map<std::uint32_t, std::unique_ptr<const Draws>> draws_;
};

}  // namespace kvtape
