#include "core/rotation.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape {

SineCosine Rotation::turn(double position, std::size_t index) const {
    constexpr double radians = 6.2831853071795864769;  // of a full turn
    const double turns = position * (inv_freq[index] / radians);
    return sine_cosine(turns - std::floor(turns));
}

Turns::Turns(const Rotation& rotation, std::span<const Position> positions)
    : rotation_(rotation),
      tokens_(positions.size()) {
    turns_.reserve(tokens_ * rotation.inv_freq.size());
    for (const Position position : positions)
        for (std::size_t i = 0; i < rotation.inv_freq.size(); ++i)
            turns_.push_back(rotation.turn(position, i));
}

void Turns::undo(std::size_t token, std::span<const float> row, std::span<double> before) const {
    std::copy(row.begin(), row.end(), before.begin());
    const std::size_t pairs = rotation_.inv_freq.size();
    for (std::size_t i = 0; i < pairs; ++i) {
        const auto [sine, cosine] = turns_[token * pairs + i];
        const auto [first, second] = rotation_.pair(i);
        const double x = static_cast<double>(row[first]), y = static_cast<double>(row[second]);
        before[first] = x * cosine + y * sine;
        before[second] = y * cosine - x * sine;
    }
}

}  // namespace kvtape
