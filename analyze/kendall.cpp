#include "analyze/kendall.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace kvtape {
namespace {

template <typename Number>
using Pair = std::pair<Number, Number>;

std::int64_t pairs_of(std::int64_t count) {
    return count * (count - 1) / 2;
}

/// Pairs of neighbours in a sorted row that `same` calls equal.
template <typename Number, typename Same>
std::int64_t tied_pairs(const std::vector<Pair<Number>>& sorted, const Same& same) {
    std::int64_t tied = 0, run = 1;
    for (std::size_t i = 1; i <= sorted.size(); ++i) {
        if (i < sorted.size() && same(sorted[i - 1], sorted[i])) {
            ++run;
            continue;
        }
        tied += pairs_of(run);
        run = 1;
    }
    return tied;
}

/// Sorts `row` by the second value; returns how many pairs stood in the wrong order.
template <typename Number>
std::int64_t sort_counting_swaps(std::vector<Pair<Number>>& row) {
    std::int64_t swaps = 0;
    std::vector<Pair<Number>> merged(row.size());
    for (std::size_t width = 1; width < row.size(); width *= 2) {
        for (std::size_t begin = 0; begin < row.size(); begin += 2 * width) {
            const std::size_t middle = std::min(begin + width, row.size());
            const std::size_t end = std::min(begin + 2 * width, row.size());
            std::size_t left = begin, right = middle;
            for (std::size_t out = begin; out < end; ++out) {
                const bool from_right =
                    left == middle || (right < end && row[right].second < row[left].second);
                if (from_right)
                    swaps += static_cast<std::int64_t>(middle - left);
                merged[out] = from_right ? row[right++] : row[left++];
            }
        }
        row.swap(merged);
    }
    return swaps;
}

template <typename Number>
std::optional<double> tau_b(std::span<const Number> a, std::span<const Number> b) {
    std::vector<Pair<Number>> row;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        if (std::isfinite(a[i]) && std::isfinite(b[i]))
            row.emplace_back(a[i], b[i]);
    std::sort(row.begin(), row.end());
    const std::int64_t all = pairs_of(std::ssize(row));
    const std::int64_t tied_a =
        tied_pairs(row, [](const auto& x, const auto& y) { return x.first == y.first; });
    const std::int64_t tied_both = tied_pairs(row, [](const auto& x, const auto& y) {
        return x.first == y.first && x.second == y.second;
    });
    const std::int64_t discordant = sort_counting_swaps(row);
    const std::int64_t tied_b =
        tied_pairs(row, [](const auto& x, const auto& y) { return x.second == y.second; });
    if (all == tied_a || all == tied_b)
        return std::nullopt;
    const std::int64_t difference = all - tied_a - tied_b + tied_both - 2 * discordant;
    return static_cast<double>(difference) /
           std::sqrt(static_cast<double>(all - tied_a) * static_cast<double>(all - tied_b));
}

}  // namespace

std::optional<double> kendall_tau_b(std::span<const float> a, std::span<const float> b) {
    return tau_b(a, b);
}

std::optional<double> kendall_tau_b_double(std::span<const double> a, std::span<const double> b) {
    return tau_b(a, b);
}

}  // namespace kvtape
