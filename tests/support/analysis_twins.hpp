#pragma once

#include "core/types.hpp"

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

/// Linear CKA: centred columns, then Frobenius norms of products.
inline double naive_cka(const Matrix& a, const Matrix& b) {
    const auto centred = [](const Matrix& rows) {
        std::vector<Row> columns;
        for (Eigen::Index c = 0; c < rows.cols(); ++c) {
            Row column;
            for (Eigen::Index r = 0; r < rows.rows(); ++r)
                column.push_back(static_cast<double>(rows(r, c)));
            const double mean = naive_mean(column);
            for (double& value : column)
                value -= mean;
            columns.push_back(column);
        }
        return columns;
    };
    const auto squared = [](const std::vector<Row>& x, const std::vector<Row>& y) {
        double sum = 0.0;
        for (const Row& left : x)
            for (const Row& right : y) {
                double product = 0.0;
                for (std::size_t i = 0; i < left.size(); ++i)
                    product += left[i] * right[i];
                sum += product * product;
            }
        return sum;
    };
    const auto x = centred(a), y = centred(b);
    return squared(x, y) / std::sqrt(squared(x, x) * squared(y, y));
}

/// The least n for which the n heaviest hold 95 %, tried one by one.
inline double naive_mass95(Row mass) {
    std::sort(mass.rbegin(), mass.rend());
    double whole = 0.0;
    for (const double value : mass)
        whole += value;
    for (std::size_t count = 1; count <= mass.size(); ++count) {
        double held = 0.0;
        for (std::size_t i = 0; i < count; ++i)
            held += mass[i];
        if (held >= 0.95 * whole)
            return static_cast<double>(count) / static_cast<double>(mass.size());
    }
    return 1.0;
}

inline double naive_cosine(const Matrix& rows, Eigen::Index a, Eigen::Index b) {
    double product = 0.0, left = 0.0, right = 0.0;
    for (Eigen::Index i = 0; i < rows.cols(); ++i) {
        const auto x = static_cast<double>(rows(a, i)), y = static_cast<double>(rows(b, i));
        product += x * y;
        left += x * x;
        right += y * y;
    }
    return left == 0.0 || right == 0.0 ? 0.0 : product / std::sqrt(left * right);
}

inline std::optional<double> naive_mergeable(const Matrix& keys,
                                             const Matrix& values,
                                             const Flags& kept) {
    double evicted = 0.0, found = 0.0;
    for (std::size_t t = 0; t < kept.size(); ++t) {
        if (kept[t] != 0)
            continue;
        evicted += 1.0;
        double best = 0.0;
        for (std::size_t j = 0; j < kept.size(); ++j)
            if (kept[j] != 0) {
                const auto a = static_cast<Eigen::Index>(t), b = static_cast<Eigen::Index>(j);
                best = std::max(best,
                                std::max(0.0, naive_cosine(keys, a, b)) *
                                    std::max(0.0, naive_cosine(values, a, b)));
            }
        found += best >= 0.5 ? 1.0 : 0.0;
    }
    return evicted == 0.0 ? std::nullopt : std::optional(found / evicted);
}

/// Again and again the page with most kept tokens among those that still fit.
inline Flags naive_chosen_pages(const Flags& kept, std::size_t block) {
    Flags chosen(kept.size(), 0), seen((kept.size() + block - 1) / block, 0);
    std::size_t left = 0;
    for (const char flag : kept)
        left += flag != 0 ? 1u : 0u;
    for (bool first = true;; first = false) {
        std::size_t best = seen.size(), most = 0, size = 0;
        for (std::size_t page = 0; page < seen.size(); ++page) {
            std::size_t held = 0, tokens = 0;
            for (std::size_t t = page * block; t < kept.size() && t < (page + 1) * block; ++t) {
                held += kept[t] != 0 ? 1u : 0u;
                ++tokens;
            }
            if (seen[page] == 0 && held > most && (first || tokens <= left)) {
                best = page;
                most = held;
                size = tokens;
            }
        }
        if (best == seen.size())
            return chosen;
        seen[best] = 1;
        for (std::size_t t = best * block; t < kept.size() && t < (best + 1) * block; ++t)
            chosen[t] = 1;
        left -= std::min(left, size);
    }
}

}  // namespace kvtape::reference
