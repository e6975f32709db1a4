#pragma once

#include "policies/policy.hpp"
#include "tests/support/policy_twins.hpp"
#include "tests/support/twins/queries.hpp"

namespace kvtape::reference {

struct ExpectedAttention {
    Position future = 512;
    Position sinks = 4;
    bool covariance = true;
    bool vnorm = true;
    double epsilon = 0.0;
};

/// The mean of the rotations to `count` positions from `first` on, as a matrix.
inline Table average_rotation(const Rotation& rotation,
                              std::size_t dim,
                              Position first,
                              Position count) {
    Table matrix(dim, Row(dim));
    for (std::size_t column = 0; column < dim; ++column) {
        Row unit(dim);
        unit[column] = 1.0;
        for (Position i = 0; i < count; ++i) {
            const Row to = turned(unit, rotation, first + i, 1.0);
            for (std::size_t row = 0; row < dim; ++row)
                matrix[row][column] += to[row] / count;
        }
    }
    return matrix;
}

/// ln E exp(scale * q . k) for every entry, q drawn from the distribution of query head `g`.
inline Row expected_logits(const HeadView& head,
                           const SessionContext& context,
                           std::size_t g,
                           const ExpectedAttention& options) {
    const auto dim = static_cast<std::size_t>(head.keys.cols());
    const Table rotation =
        average_rotation(context.rotation, dim, head.positions.back() + 1, options.future);
    const double scale = context.shape.softmax_scale;
    Row logits;
    for (Eigen::Index j = 0; j < head.keys.rows(); ++j) {
        // q' = R q, so q'.k = q.(R^T k)
        Row key(dim);
        for (std::size_t i = 0; i < dim; ++i)
            for (std::size_t r = 0; r < dim; ++r)
                key[i] += rotation[r][i] *
                          static_cast<double>(head.keys(j, static_cast<Eigen::Index>(r)));
        double z = 0.0;
        for (std::size_t i = 0; i < dim; ++i) {
            const auto row = static_cast<Eigen::Index>(g * dim + i);
            z += scale * key[i] *
                 static_cast<double>(head.statistics.mean(static_cast<Eigen::Index>(g),
                                                          static_cast<Eigen::Index>(i)));
            for (std::size_t k = 0; options.covariance && k < dim; ++k)
                z += 0.5 * scale * scale * key[i] * key[k] *
                     static_cast<double>(
                         head.statistics.covariance(row, static_cast<Eigen::Index>(k)));
        }
        logits.push_back(z);
    }
    return logits;
}

/// Of every entry; 0 for sinks.
inline Row expected_attention(const HeadView& head,
                              const SessionContext& context,
                              const ExpectedAttention& options) {
    const std::size_t held = head.positions.size();
    const std::size_t sinks = std::min(held, static_cast<std::size_t>(options.sinks));
    const auto group = static_cast<std::size_t>(context.shape.group());
    Row score(held);
    for (std::size_t g = 0; g < group; ++g) {
        const Row all = expected_logits(head, context, g, options);
        const Row shares = softmax({all.begin() + static_cast<std::ptrdiff_t>(sinks), all.end()});
        for (std::size_t i = 0; i < shares.size(); ++i)
            score[sinks + i] += shares[i] / static_cast<double>(group);
    }
    for (std::size_t i = 0; options.vnorm && i < held; ++i) {
        const float* value = head.values.row(static_cast<Eigen::Index>(i)).data();
        score[i] = (score[i] + options.epsilon) * std::sqrt(dot(value, value, head.values.cols()));
    }
    return score;
}

}  // namespace kvtape::reference
