#pragma once

#include <cmath>
#include <cstddef>
#include <span>

namespace kvtape {

/// ||o - o_S|| / ||o||, where o is `full` and o_S is `sum / mass`, or zero where there is no mass.
/// 0 where they are equal, 1 where o alone is zero.
inline double output_error(std::span<const double> full, std::span<const double> sum, double mass) {
    double length = 0.0, distance = 0.0;
    for (std::size_t i = 0; i < full.size(); ++i) {
        const double off = full[i] - (mass > 0.0 ? sum[i] / mass : 0.0);
        length += full[i] * full[i];
        distance += off * off;
    }
    if (distance == 0.0)
        return 0.0;
    return length > 0.0 ? std::sqrt(distance) / std::sqrt(length) : 1.0;
}

}  // namespace kvtape
