#include "sim/probes.hpp"

#include "core/kernels.hpp"

#include <algorithm>

namespace kvtape {

RowRange rows_between(const SequenceInfo& sequence, Position begin, Position end) {
    const auto& positions = sequence.query_positions;
    const auto first = std::lower_bound(positions.begin(), positions.end(), begin);
    const auto last = std::lower_bound(first, positions.end(), end);
    return {static_cast<std::int32_t>(first - positions.begin()),
            static_cast<std::int32_t>(last - first)};
}

RowRange probe_rows(const SequenceInfo& sequence) {
    return rows_between(sequence, sequence.context_len, sequence.length());
}

RowRange answer_rows(const SequenceInfo& sequence) {
    const Position first = sequence.prompt_len - 1;
    return rows_between(sequence, first, std::max(first + 1, sequence.length() - 1));
}

Matrix scaled_queries(const Shape& shape,
                      const SequenceInfo& sequence,
                      const LayerData& layer,
                      std::int32_t query_head,
                      RowRange rows) {
    const Eigen::Index dim = shape.head_dim;
    const Eigen::Index recorded = std::ssize(sequence.query_positions);
    const float* from = layer.queries.data() + (query_head * recorded + rows.first) * dim;
    return view(from, rows.count, dim) * static_cast<float>(shape.softmax_scale);
}

ProbeAttention probe_attention(const Shape& shape,
                               const SequenceInfo& sequence,
                               std::optional<Position> window,
                               const LayerData& layer,
                               std::int32_t query_head,
                               RowRange rows) {
    const Eigen::Index tokens = sequence.length(), dim = shape.head_dim;
    const Matrix scaled = scaled_queries(shape, sequence, layer, query_head, rows);
    const float* keys = layer.keys.data() + (query_head / shape.group()) * tokens * dim;
    ProbeAttention attention{.weights = Matrix(rows.count, tokens), .largest = {}};
    multiply_transposed(view(scaled), view(keys, tokens, dim), mutable_view(attention.weights));
    for (Eigen::Index row = 0; row < rows.count; ++row) {
        const Position position =
            sequence.query_positions[static_cast<std::size_t>(rows.first + row)];
        const Position begin = window ? std::max(0, position + 1 - *window) : 0;
        const std::span<float> weights(attention.weights.data() + row * tokens,
                                       static_cast<std::size_t>(tokens));
        const std::span<float> seen = weights.subspan(
            static_cast<std::size_t>(begin), static_cast<std::size_t>(position + 1 - begin));
        attention.largest.push_back(maximum(seen));
        exp_shifted(seen, attention.largest.back());
        std::fill(weights.begin(), weights.begin() + begin, 0.0f);
        std::fill(weights.begin() + position + 1, weights.end(), 0.0f);
    }
    return attention;
}

}  // namespace kvtape
