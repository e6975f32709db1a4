#pragma once

#include "policies/policy.hpp"
#include "tests/support/policy_twins.hpp"

/// R-KV in double precision, from the whole matrix of similarities.
namespace kvtape::reference {

inline Row mean_similarity(MatrixView keys, double threshold) {
    const auto held = static_cast<std::size_t>(keys.rows());
    Table similar(held, Row(held));
    const auto at = [&](std::size_t i) { return keys.row(static_cast<Eigen::Index>(i)).data(); };
    for (std::size_t i = 0; i < held; ++i)
        for (std::size_t j = 0; j < held; ++j) {
            const double lengths = std::sqrt(dot(at(i), at(i), keys.cols())) *
                                   std::sqrt(dot(at(j), at(j), keys.cols()));
            if (i != j && lengths > 0.0)
                similar[i][j] = dot(at(i), at(j), keys.cols()) / lengths;
        }
    for (Row& row : similar) {
        std::size_t last = 0;
        for (std::size_t j = 0; j < held; ++j)
            if (row[j] > threshold)
                last = j;
        row[last] = 0.0;
    }
    Row mean = sum_rows(similar, 0, held, held);
    for (double& value : mean)
        value /= static_cast<double>(held);
    return mean;
}

struct RKv {
    std::size_t window = 8;
    std::ptrdiff_t kernel = 7;
    double lambda = 0.07;
    double threshold = 0.5;
};

/// Scores of the entries before the window.
inline Row r_kv(const HeadView& head, const Shape& shape, const RKv& options) {
    const std::size_t held = head.positions.size();
    if (held <= options.window)
        return {};
    const std::size_t past = held - options.window, queries = head.observed.positions.size();
    Row votes(past);
    for (std::size_t query = 0; query < queries; ++query) {
        Row logits(past, -INFINITY);
        for (std::size_t g = 0; g < static_cast<std::size_t>(shape.group()); ++g)
            for (std::size_t j = 0; j < past; ++j)
                logits[j] =
                    std::max(logits[j],
                             shape.softmax_scale *
                                 dot(head.observed.queries
                                         .row(static_cast<Eigen::Index>(g * queries + query))
                                         .data(),
                                     head.keys.row(static_cast<Eigen::Index>(j)).data(),
                                     shape.head_dim));
        const Row row = softmax(logits);
        for (std::size_t j = 0; j < past; ++j)
            votes[j] += row[j] / static_cast<double>(queries);
    }
    votes = pool(votes, options.kernel, false);
    const Row redundancy = softmax(mean_similarity(head.keys, options.threshold));
    Row scores(past);
    for (std::size_t j = 0; j < past; ++j)
        scores[j] = options.lambda * votes[j] - (1.0 - options.lambda) * redundancy[j];
    return scores;
}

}  // namespace kvtape::reference
