#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <vector>

/// Naive twins of the statistics of analyze/, by their definitions: obviously right, not fast.
namespace kvtape::reference {

using Row = std::vector<double>;
using Flags = std::vector<char>;

/// The rank of a value is one more than the values below it, plus half of the others that equal it.
inline Row naive_ranks(const Row& values) {
    Row ranks;
    for (const double value : values) {
        double rank = 0.5;
        for (const double other : values)
            rank += other < value ? 1.0 : other == value ? 0.5 : 0.0;
        ranks.push_back(rank);
    }
    return ranks;
}

inline double naive_mean(const Row& values) {
    double sum = 0.0;
    for (const double value : values)
        sum += value;
    return sum / static_cast<double>(values.size());
}

inline double naive_pearson(const Row& x, const Row& y) {
    const double x_mean = naive_mean(x), y_mean = naive_mean(y);
    double xy = 0.0, xx = 0.0, yy = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xy += (x[i] - x_mean) * (y[i] - y_mean);
        xx += (x[i] - x_mean) * (x[i] - x_mean);
        yy += (y[i] - y_mean) * (y[i] - y_mean);
    }
    return xy / std::sqrt(xx * yy);
}

/// Share of scores that some other one equals.
inline double naive_tie_rate(const Row& scores) {
    double tied = 0.0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        bool found = false;
        for (std::size_t j = 0; j < scores.size(); ++j)
            found = found || (i != j && scores[i] == scores[j]);
        tied += found ? 1.0 : 0.0;
    }
    return tied / static_cast<double>(scores.size());
}

/// Kept share of the tokens t with bin <= 20 t / n < bin + 1.
inline std::optional<double> naive_kept_share(const Flags& kept,
                                              const Flags& counts,
                                              std::size_t bin) {
    double all = 0.0, held = 0.0;
    for (std::size_t t = 0; t < kept.size(); ++t) {
        const double place = 20.0 * static_cast<double>(t) / static_cast<double>(kept.size());
        if (counts[t] == 0 || std::floor(place) != static_cast<double>(bin))
            continue;
        all += 1.0;
        held += kept[t] != 0 ? 1.0 : 0.0;
    }
    return all == 0.0 ? std::nullopt : std::optional(held / all);
}

/// The mean distance when equally many quantiles of both sets are moved onto each other: with as
/// many copies of each position as the other set is large, the distance of the sorted rows.
inline double naive_position_distance(const Flags& a, const Flags& b, const Flags& counts) {
    std::vector<std::size_t> left, right, left_copies, right_copies;
    for (std::size_t t = 0; t < a.size(); ++t) {
        if (counts[t] != 0 && a[t] != 0)
            left.push_back(t);
        if (counts[t] != 0 && b[t] != 0)
            right.push_back(t);
    }
    for (const std::size_t t : left)
        left_copies.insert(left_copies.end(), right.size(), t);
    for (const std::size_t t : right)
        right_copies.insert(right_copies.end(), left.size(), t);
    double sum = 0.0;
    for (std::size_t i = 0; i < left_copies.size(); ++i)
        sum += std::abs(static_cast<double>(left_copies[i]) - static_cast<double>(right_copies[i]));
    return sum / static_cast<double>(left_copies.size()) / static_cast<double>(a.size());
}

}  // namespace kvtape::reference
