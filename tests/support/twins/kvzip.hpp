#pragma once

#include "policies/policy.hpp"
#include "tests/support/twins/critical.hpp"

namespace kvtape::reference {

/// ||W_o^h v||_2 of query head `g` of the group, for one entry.
inline double projected_length(const LayerView& layer,
                               const HeadView& head,
                               const Shape& shape,
                               Eigen::Index g,
                               Eigen::Index entry) {
    double squares = 0.0;
    for (Eigen::Index row = 0; row < layer.output_projection.rows(); ++row) {
        double sum = 0.0;
        for (Eigen::Index c = 0; c < shape.head_dim; ++c)
            sum += static_cast<double>(layer.output_projection(
                       row, (head.id.head * shape.group() + g) * shape.head_dim + c)) *
                   static_cast<double>(head.values(entry, c));
        squares += sum * sum;
    }
    return std::sqrt(squares);
}

/// The most that any row of an entry's piece gives it.
inline Row kvzip(const LayerView& layer, const HeadView& head, const Shape& shape, bool plus) {
    Row score(head.positions.size());
    const Repetition& repetition = head.repetition;
    const Eigen::Index rows = repetition.queries.rows() / shape.group();
    for (const ReplayChunk& chunk : repetition.chunks)
        for (Eigen::Index j = chunk.begin; j < chunk.end; ++j)
            for (Eigen::Index g = 0; g < shape.group(); ++g)
                for (Eigen::Index row = chunk.first; row < chunk.first + chunk.count; ++row) {
                    const Eigen::Index at = g * rows + row;
                    double share = std::exp(
                        shape.softmax_scale * dot(repetition.queries.row(at).data(),
                                                  head.keys.row(j).data(),
                                                  shape.head_dim) -
                        static_cast<double>(repetition.logsumexp[static_cast<std::size_t>(at)]));
                    if (plus)
                        share *= projected_length(layer, head, shape, g, j) /
                                 static_cast<double>(
                                     repetition.hidden_norms[static_cast<std::size_t>(row)]);
                    double& best = score[static_cast<std::size_t>(j)];
                    best = std::max(best, share);
                }
    return score;
}

}  // namespace kvtape::reference
