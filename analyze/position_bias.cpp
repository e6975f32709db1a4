#include "analyze/position_bias.hpp"

#include "analyze/spearman.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <vector>

namespace kvtape {

KeepProfile keep_profile(std::span<const char> kept, std::span<const char> counts) {
    std::array<double, profile_bins> all{}, held{};
    for (std::size_t t = 0; t < kept.size(); ++t)
        if (counts[t] != 0) {
            const std::size_t bin = t * profile_bins / kept.size();
            all[bin] += 1.0;
            held[bin] += kept[t] != 0 ? 1.0 : 0.0;
        }
    KeepProfile profile;
    for (std::size_t bin = 0; bin < profile_bins; ++bin)
        profile[bin] =
            all[bin] > 0.0 ? held[bin] / all[bin] : std::numeric_limits<double>::quiet_NaN();
    return profile;
}

std::optional<double> keep_slope(const KeepProfile& profile) {
    double count = 0.0, x_sum = 0.0, y_sum = 0.0;
    const auto middle = [](std::size_t bin) {
        return (static_cast<double>(bin) + 0.5) / static_cast<double>(profile_bins);
    };
    for (std::size_t bin = 0; bin < profile_bins; ++bin)
        if (!std::isnan(profile[bin])) {
            count += 1.0;
            x_sum += middle(bin);
            y_sum += profile[bin];
        }
    if (count < 2.0)
        return std::nullopt;
    double xy = 0.0, xx = 0.0;
    for (std::size_t bin = 0; bin < profile_bins; ++bin)
        if (!std::isnan(profile[bin])) {
            const double x = middle(bin) - x_sum / count;
            xy += x * (profile[bin] - y_sum / count);
            xx += x * x;
        }
    return xy / xx;
}

std::optional<double> position_distance(std::span<const char> a,
                                        std::span<const char> b,
                                        std::span<const char> counts) {
    std::int64_t a_size = 0, b_size = 0;
    for (std::size_t t = 0; t < a.size(); ++t)
        if (counts[t] != 0) {
            a_size += a[t] != 0 ? 1 : 0;
            b_size += b[t] != 0 ? 1 : 0;
        }
    if (a_size == 0 || b_size == 0)
        return std::nullopt;
    // Distribution functions change at positions alone, so the integral is a sum; over the common
    // denominator a_size * b_size it is one of integers.
    std::int64_t apart = 0, sum = 0;
    for (std::size_t t = 0; t < a.size(); ++t) {
        if (counts[t] != 0)
            apart += (a[t] != 0 ? b_size : 0) - (b[t] != 0 ? a_size : 0);
        sum += std::abs(apart);
    }
    return static_cast<double>(sum) / static_cast<double>(a_size) / static_cast<double>(b_size) /
           static_cast<double>(a.size());
}

std::optional<double> tie_rate(std::span<const float> scores) {
    std::vector<float> sorted;
    std::copy_if(scores.begin(), scores.end(), std::back_inserter(sorted), [](float score) {
        return std::isfinite(score);
    });
    if (sorted.empty())
        return std::nullopt;
    std::sort(sorted.begin(), sorted.end());
    std::size_t tied = 0;
    for (std::size_t begin = 0, end = 0; begin < sorted.size(); begin = end) {
        while (end < sorted.size() && sorted[end] == sorted[begin])
            ++end;
        tied += end - begin > 1 ? end - begin : 0;
    }
    return static_cast<double>(tied) / static_cast<double>(sorted.size());
}

std::optional<double> position_correlation(std::span<const float> scores) {
    std::vector<double> values(scores.begin(), scores.end()), positions(scores.size());
    for (std::size_t t = 0; t < positions.size(); ++t)
        positions[t] = static_cast<double>(t);
    return spearman_rho(values, positions);
}

}  // namespace kvtape
