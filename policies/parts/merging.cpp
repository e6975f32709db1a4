#include "policies/parts/merging.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kvtape {
namespace {

using Row = std::vector<double>;

/// Below this length, the mean of unit vectors has no direction.
constexpr double no_direction = 1e-6;

double length_of(const float* row, Eigen::Index dim) {
    double squares = 0.0;
    for (Eigen::Index i = 0; i < dim; ++i)
        squares += static_cast<double>(row[i]) * static_cast<double>(row[i]);
    return std::sqrt(squares);
}

/// Scores that add up to one.
std::vector<double> weights_of(std::span<const Position> members, std::span<const float> scores) {
    std::vector<double> weights;
    double total = 0.0;
    for (const Position member : members) {
        weights.push_back(static_cast<double>(scores[static_cast<std::size_t>(member)]));
        total += weights.back();
    }
    for (double& weight : weights)
        weight = total > 0.0 ? weight / total : 1.0 / static_cast<double>(members.size());
    return weights;
}

void append(std::vector<float>& rows, const Row& row) {
    for (const double value : row)
        rows.push_back(static_cast<float>(value));
}

/// Adds the merged key and value of `members`, the first of which takes in the others.
void merge(const HeadView& head,
           std::span<const float> scores,
           std::span<const Position> members,
           Merges& merges) {
    const Eigen::Index dim = head.keys.cols();
    const std::vector<double> weights = weights_of(members, scores);
    Row direction(static_cast<std::size_t>(dim)), value(static_cast<std::size_t>(dim));
    double length = 0.0;
    for (std::size_t m = 0; m < members.size(); ++m) {
        const float* member_key = head.keys.row(members[m]).data();
        const float* member_value = head.values.row(members[m]).data();
        const double own_length = length_of(member_key, dim);
        length += weights[m] * own_length;
        for (std::size_t i = 0; i < value.size(); ++i) {
            value[i] += weights[m] * static_cast<double>(member_value[i]);
            if (own_length > 0.0)
                direction[i] += weights[m] * static_cast<double>(member_key[i]) / own_length;
        }
    }
    double squares = 0.0;
    for (const double part : direction)
        squares += part * part;
    const double clarity = std::sqrt(squares);
    for (std::size_t i = 0; i < direction.size(); ++i)
        direction[i] =
            clarity < no_direction
                ? static_cast<double>(head.keys(members[0], static_cast<Eigen::Index>(i)))
                : direction[i] * (length / clarity);
    append(merges.keys, direction);
    append(merges.values, value);
}

}  // namespace

Merges merged(const HeadView& head,
              std::span<const float> scores,
              std::span<const Position> entries,
              std::span<const Position> into) {
    Merges merges;
    std::vector<std::pair<Position, Position>> pairs;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (into[i] < 0)
            continue;
        pairs.emplace_back(into[i], entries[i]);
        merges.absorbed.push_back({head.positions[static_cast<std::size_t>(entries[i])],
                                   head.positions[static_cast<std::size_t>(into[i])]});
    }
    std::sort(pairs.begin(), pairs.end());
    std::sort(merges.absorbed.begin(),
              merges.absorbed.end(),
              [](const Absorbed& a, const Absorbed& b) { return a.from < b.from; });
    std::vector<Position> members;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const auto [center, entry] = pairs[i];
        if (members.empty())
            members.push_back(center);
        members.push_back(entry);
        if (i + 1 < pairs.size() && pairs[i + 1].first == center)
            continue;
        merges.changed.push_back(head.positions[static_cast<std::size_t>(center)]);
        merge(head, scores, members, merges);
        members.clear();
    }
    return merges;
}

}  // namespace kvtape
