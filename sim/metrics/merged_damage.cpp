#include "sim/metrics/merged_damage.hpp"

#include "core/exp.hpp"
#include "core/kernels.hpp"
#include "core/reduce.hpp"

#include <algorithm>
#include <cstddef>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// What is held as it was recorded.
std::vector<Position> untouched(std::span<const char> kept,
                                std::span<const Position> merged,
                                Position tokens) {
    std::vector<Position> held;
    for (Position token = 0; token < tokens; ++token)
        if ((token >= std::ssize(kept) || kept[static_cast<std::size_t>(token)] != 0) &&
            !std::binary_search(merged.begin(), merged.end(), token))
            held.push_back(token);
    return held;
}

Matrix columns(MatrixView matrix, std::span<const Position> which) {
    Matrix gathered(matrix.rows(), std::ssize(which));
    for (Index row = 0; row < matrix.rows(); ++row)
        for (Index i = 0; i < gathered.cols(); ++i)
            gathered(row, i) = matrix(row, which[static_cast<std::size_t>(i)]);
    return gathered;
}

Packed packed_rows(MatrixView matrix, std::span<const Position> which) {
    Matrix gathered(std::ssize(which), matrix.cols());
    for (Index i = 0; i < gathered.rows(); ++i)
        gathered.row(i) = matrix.row(which[static_cast<std::size_t>(i)]);
    return Packed::straight(view(gathered));
}

Matrix product(const Matrix& weights, const Packed& values, Index dim) {
    Matrix sums = Matrix::Zero(weights.rows(), dim);
    if (weights.cols() > 0)
        multiply(view(weights), values, mutable_view(sums));
    return sums;
}

double sum_of(const float* row, Index count) {
    return ordered_sum(std::span<const float>(row, static_cast<std::size_t>(count)));
}

/// Turns the logits of merged entries into weights relative to the largest logit among them and
/// `largest`; returns the factor that brings weights relative to `largest` alone to the same scale.
double weigh(std::span<float> logits, std::span<const char> seen, float largest) {
    float shift = largest;
    for (std::size_t i = 0; i < logits.size(); ++i)
        if (seen[i] != 0)
            shift = std::max(shift, logits[i]);
    for (std::size_t i = 0; i < logits.size(); ++i)
        logits[i] = seen[i] != 0 ? static_cast<float>(exponential(static_cast<double>(logits[i]) -
                                                                  static_cast<double>(shift)))
                                 : 0.0f;
    return exponential(static_cast<double>(largest) - static_cast<double>(shift));
}

std::vector<char> seen_from(Position probe,
                            std::optional<Position> window,
                            std::span<const Position> positions) {
    std::vector<char> seen;
    for (const Position position : positions)
        seen.push_back(position <= probe && (!window || position > probe - *window));
    return seen;
}

}  // namespace

MergedDamage measure_merged(std::span<const HeadProbes> probes,
                            std::span<const Position> positions,
                            std::optional<Position> window,
                            MatrixView values,
                            std::span<const char> kept,
                            const MergedRows& merged,
                            std::span<const OutputNorm> norms) {
    const Index dim = values.cols(), changed = merged.keys.rows();
    const auto held = untouched(kept, merged.positions, static_cast<Position>(values.rows()));
    const Packed all_values = Packed::straight(values), held_values = packed_rows(values, held);
    const Packed merged_keys = Packed::transposed(view(merged.keys));
    const Packed merged_values = Packed::straight(view(merged.values));
    std::vector<double> errors, projected, full(static_cast<std::size_t>(dim)), sum(full.size());
    for (std::size_t at = 0; at < probes.size(); ++at) {
        const HeadProbes& head = probes[at];
        const Index rows = head.weights.rows();
        Matrix all_sums(rows, dim), logits(rows, changed);
        multiply(head.weights, all_values, mutable_view(all_sums));
        const Matrix held_weights = columns(head.weights, held);
        const Matrix held_sums = product(held_weights, held_values, dim);
        multiply(view(head.queries), merged_keys, mutable_view(logits));
        std::vector<double> factors;
        for (Index row = 0; row < rows; ++row)
            factors.push_back(
                weigh({logits.data() + row * changed, static_cast<std::size_t>(changed)},
                      seen_from(positions[static_cast<std::size_t>(row)], window, merged.positions),
                      head.largest[static_cast<std::size_t>(row)]));
        const Matrix merged_sums = product(logits, merged_values, dim);
        for (Index row = 0; row < rows; ++row) {
            const double factor = factors[static_cast<std::size_t>(row)];
            const double total =
                sum_of(head.weights.data() + row * head.weights.outerStride(), head.weights.cols());
            for (Index i = 0; i < dim; ++i) {
                full[static_cast<std::size_t>(i)] = static_cast<double>(all_sums(row, i)) / total;
                sum[static_cast<std::size_t>(i)] = factor * static_cast<double>(held_sums(row, i)) +
                                                   static_cast<double>(merged_sums(row, i));
            }
            const double mass = factor * sum_of(held_weights.data() + row * held_weights.cols(),
                                                held_weights.cols()) +
                                sum_of(logits.data() + row * changed, changed);
            errors.push_back(output_error(full, sum, mass));
            if (!norms.empty())
                projected.push_back(output_error(full, sum, mass, &norms[at]));
        }
    }
    return {.output_error_median = quantile(errors, 0.5),
            .output_error_p95 = quantile(errors, 0.95),
            .projected_error_median = quantile(projected, 0.5),
            .projected_error_p95 = quantile(projected, 0.95)};
}

}  // namespace kvtape
