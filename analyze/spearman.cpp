#include "analyze/spearman.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

namespace kvtape {
namespace {

/// Ranks from 1, equal values sharing their mean.
std::vector<double> average_ranks(const std::vector<double>& values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
        return values[i] != values[j] ? values[i] < values[j] : i < j;
    });
    std::vector<double> ranks(values.size());
    for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
        end = begin + 1;
        while (end < order.size() && values[order[end]] == values[order[begin]])
            ++end;
        const double shared = (static_cast<double>(begin + 1) + static_cast<double>(end)) / 2.0;
        for (std::size_t i = begin; i < end; ++i)
            ranks[order[i]] = shared;
    }
    return ranks;
}

}  // namespace

std::optional<double> spearman_rho(std::span<const double> a, std::span<const double> b) {
    std::vector<double> left, right;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        if (std::isfinite(a[i]) && std::isfinite(b[i])) {
            left.push_back(a[i]);
            right.push_back(b[i]);
        }
    const std::vector<double> x = average_ranks(left), y = average_ranks(right);
    const double middle = (static_cast<double>(x.size()) + 1.0) / 2.0;
    double xy = 0.0, xx = 0.0, yy = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xy += (x[i] - middle) * (y[i] - middle);
        xx += (x[i] - middle) * (x[i] - middle);
        yy += (y[i] - middle) * (y[i] - middle);
    }
    if (xx == 0.0 || yy == 0.0)
        return std::nullopt;
    return xy / std::sqrt(xx * yy);
}

}  // namespace kvtape
