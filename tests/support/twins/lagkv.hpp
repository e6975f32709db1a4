#pragma once

#include "tests/support/policy_twins.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

/// LagKV (seeds.md 1.3 and 1.7) in double precision.
namespace kvtape::reference {

/// Softmax over rows [begin, begin + lag) of the spread of each over its channels, rescaled by the
/// range of the next `lag` rows, or of these.
inline Row lag_part(MatrixView tensor, Eigen::Index begin, Eigen::Index lag, bool local = false) {
    Row spreads;
    for (Eigen::Index i = begin; i < begin + lag; ++i) {
        Row scaled;
        for (Eigen::Index channel = 0; channel < tensor.cols(); ++channel) {
            double low = INFINITY, high = -INFINITY;
            const Eigen::Index from = local ? begin : begin + lag;
            for (Eigen::Index r = from; r < from + lag; ++r) {
                low = std::min(low, static_cast<double>(tensor(r, channel)));
                high = std::max(high, static_cast<double>(tensor(r, channel)));
            }
            const double x = static_cast<double>(tensor(i, channel));
            scaled.push_back(high == low ? 0.0 : (x - low) / (high - low));
        }
        const auto count = static_cast<double>(scaled.size());
        const double mean = std::accumulate(scaled.begin(), scaled.end(), 0.0) / count;
        double squares = 0.0;
        for (const double value : scaled)
            squares += (value - mean) * (value - mean);
        spreads.push_back(std::sqrt(squares / (count - 1.0)));
    }
    return softmax(spreads);
}

/// What a partition is judged by: the next one, itself (localkv), or the norms of keys (l2kv).
enum class LagBy { next, itself, norm };

struct LagKv {
    double value_ratio = 1.0;
    LagBy by = LagBy::next;
};

/// Scores of the judged partitions, in order.
inline Row lagkv(const HeadView& head, Eigen::Index sinks, Eigen::Index lag, const LagKv& options) {
    Row scores;
    const Eigen::Index held = head.keys.rows();
    if (held < sinks + 2 * lag)
        return scores;
    for (Eigen::Index p = 0; p + 1 < (held - sinks) / lag; ++p) {
        const Eigen::Index begin = sinks + p * lag;
        if (options.by == LagBy::norm) {
            for (Eigen::Index i = begin; i < begin + lag; ++i)
                scores.push_back(-std::sqrt(
                    dot(head.keys.row(i).data(), head.keys.row(i).data(), head.keys.cols())));
            continue;
        }
        const bool local = options.by == LagBy::itself;
        const Row keys = lag_part(head.keys, begin, lag, local);
        const Row values = lag_part(head.values, begin, lag, local);
        for (std::size_t i = 0; i < keys.size(); ++i)
            scores.push_back(keys[i] + options.value_ratio * values[i]);
    }
    return scores;
}

}  // namespace kvtape::reference
