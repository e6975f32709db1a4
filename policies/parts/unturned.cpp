#include "policies/parts/unturned.hpp"

#include <algorithm>

namespace kvtape {
namespace {

/// By the angle of `position`, or by the one that undoes it where `back`.
void turn(const Rotation& rotation, Position position, bool back, float* key) {
    for (std::size_t i = 0; i < rotation.inv_freq.size(); ++i) {
        const SineCosine angle = rotation.turn(position, i);
        const double sine = back ? -angle.sine : angle.sine;
        const auto [first, second] = rotation.pair(i);
        const auto x = static_cast<double>(key[first]), y = static_cast<double>(key[second]);
        key[first] = static_cast<float>(x * angle.cosine - y * sine);
        key[second] = static_cast<float>(y * angle.cosine + x * sine);
    }
}

}  // namespace

Matrix unturned_keys(const HeadView& head, const Rotation& rotation) {
    Matrix keys = head.keys;
    for (Eigen::Index i = 0; i < keys.rows(); ++i)
        turn(rotation, head.positions[static_cast<std::size_t>(i)], true, keys.row(i).data());
    return keys;
}

void turn_key(const Rotation& rotation, Position by, std::span<float> key) {
    turn(rotation, by < 0 ? -by : by, by < 0, key.data());
}

void turn_keys(Merges& merges, const Rotation& rotation) {
    if (merges.changed.empty())
        return;
    const std::size_t dim = merges.keys.size() / merges.changed.size();
    for (std::size_t i = 0; i < merges.changed.size(); ++i)
        turn(rotation, merges.changed[i], false, merges.keys.data() + i * dim);
}

}  // namespace kvtape
