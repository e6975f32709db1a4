#pragma once

#include "policies/policy.hpp"
#include "tests/support/policy_twins.hpp"

namespace kvtape::reference {

/// Mean over the query heads of a group of ||W_o^h v||_1, for every entry.
inline Row projected_magnitudes(const LayerView& layer, const HeadView& head, const Shape& shape) {
    Row mean(head.positions.size());
    const MatrixView& projection = layer.output_projection;
    for (std::size_t j = 0; j < mean.size(); ++j)
        for (Eigen::Index g = 0; g < shape.group(); ++g)
            for (Eigen::Index row = 0; row < projection.rows(); ++row) {
                double sum = 0.0;
                for (Eigen::Index c = 0; c < shape.head_dim; ++c)
                    sum += static_cast<double>(projection(
                               row, (head.id.head * shape.group() + g) * shape.head_dim + c)) *
                           static_cast<double>(head.values(static_cast<Eigen::Index>(j), c));
                mean[j] += std::abs(sum) / shape.group();
            }
    return mean;
}

/// Squared distance that the output of one query moves when entry `gone` leaves the softmax: both
/// outputs are computed.
inline double loss_without(const Row& logits, MatrixView values, std::size_t gone) {
    const auto output = [&](bool whole) {
        Row seen = logits;
        if (!whole)
            seen[gone] = -INFINITY;
        const Row shares = softmax(seen);
        Row sum(static_cast<std::size_t>(values.cols()));
        for (std::size_t j = 0; j < shares.size(); ++j)
            for (std::size_t c = 0; c < sum.size(); ++c)
                sum[c] += shares[j] * static_cast<double>(values(static_cast<Eigen::Index>(j),
                                                                 static_cast<Eigen::Index>(c)));
        return sum;
    };
    const Row all = output(true), rest = output(false);
    double squares = 0.0;
    for (std::size_t c = 0; c < all.size(); ++c)
        squares += (all[c] - rest[c]) * (all[c] - rest[c]);
    return squares;
}

/// Of the entries before the window.
inline Row dropkv(const HeadView& head, const Shape& shape, std::size_t window) {
    const std::size_t held = head.positions.size();
    if (held <= window)
        return {};
    Row score(held - window);
    for (Eigen::Index row = 0; row < head.observed.queries.rows(); ++row) {
        const Position own =
            head.observed.positions[static_cast<std::size_t>(row) % head.observed.positions.size()];
        Row logits;
        for (std::size_t j = 0; j < held && head.positions[j] <= own; ++j)
            logits.push_back(shape.softmax_scale *
                             dot(head.observed.queries.row(row).data(),
                                 head.keys.row(static_cast<Eigen::Index>(j)).data(),
                                 shape.head_dim));
        for (std::size_t j = 0; j < score.size() && logits.size() > 1; ++j)
            score[j] += loss_without(logits, head.values, j) / shape.group();
    }
    return score;
}

}  // namespace kvtape::reference
