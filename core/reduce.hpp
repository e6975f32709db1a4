#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace kvtape {

/// Sums in one fixed order: blocks of 256 elements, each summed in double in index order, the
/// partial sums then added in block order. The only way kvtape adds up long rows, so that a result
/// never depends on threads, vector width or compiler flags.
template <typename Number>
double ordered_sum(std::span<const Number> values) {
    constexpr std::size_t width = 256;
    double total = 0.0;
    for (std::size_t begin = 0; begin < values.size(); begin += width) {
        double partial = 0.0;
        for (const Number value : values.subspan(begin, std::min(width, values.size() - begin)))
            partial += static_cast<double>(value);
        total += partial;
    }
    return total;
}
inline double ordered_sum(std::span<const float> values) {
    return ordered_sum<float>(values);
}
inline double ordered_sum(std::span<const double> values) {
    return ordered_sum<double>(values);
}

/// The arithmetic mean in that order; 0 for no values.
inline double ordered_mean(std::span<const double> values) {
    return values.empty() ? 0.0 : ordered_sum(values) / static_cast<double>(values.size());
}

/// The `fraction` quantile (0..1) by linear interpolation between order statistics (the common
/// "type 7"); 0 for no values.
double quantile(std::vector<double> values, double fraction);

}  // namespace kvtape
