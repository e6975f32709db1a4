#include "policies/parts/attention.hpp"

#include "core/error.hpp"
#include "core/kernels.hpp"

#include <algorithm>
#include <string>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// Rows of logits that are in memory at a time: few enough to stay near the caches, and a multiple
/// of the rows of one tile of the product.
constexpr Index rows_at_once = 132;

std::span<float> row_of(Matrix& matrix, Index row) {
    return {matrix.data() + row * matrix.cols(), static_cast<std::size_t>(matrix.cols())};
}

/// Hands over the probabilities of one query. `logits` covers all held entries.
void use_probabilities(const HeadView& head,
                       Index row,
                       std::span<float> logits,
                       const RowUse& use) {
    const Observation& observed = head.observed;
    const std::size_t of_head = static_cast<std::size_t>(row) % observed.positions.size();
    const auto visible =
        std::upper_bound(head.positions.begin(), head.positions.end(), observed.positions[of_head]);
    auto count = static_cast<std::size_t>(visible - head.positions.begin());
    if (observed.keys.rows() > 0)
        count = head.positions.size() + of_head + 1;
    if (count == 0)
        return;
    logits = logits.first(count);
    if (!observed.logsumexp.empty()) {
        exp_shifted(logits, observed.logsumexp[static_cast<std::size_t>(row)]);
        use(row, logits, 1.0f);
        return;
    }
    const double total = exp_shifted(logits, maximum(logits));
    use(row, logits, static_cast<float>(1.0 / total));
}

void expect_shapes(const HeadView& head, const Shape& shape) {
    const auto rows = static_cast<Index>(head.observed.positions.size()) * shape.group();
    const bool normalisers =
        head.observed.logsumexp.empty() || std::ssize(head.observed.logsumexp) == rows;
    const Index own = head.observed.keys.rows();
    const bool probes = own == 0 || own == std::ssize(head.observed.positions);
    if (head.observed.queries.rows() != rows || !normalisers || !probes ||
        head.keys.rows() != std::ssize(head.positions))
        throw internal_error("observing layer " + std::to_string(head.id.layer) + ", KV head " +
                             std::to_string(head.id.head) +
                             ": queries, normalisers, keys and positions do not fit together");
}

}  // namespace

void attention_rows(const HeadView& head, const Shape& shape, const RowUse& use) {
    expect_shapes(head, shape);
    const Index rows = head.observed.queries.rows();
    const Index held = head.keys.rows(), own = head.observed.keys.rows();
    if (rows == 0 || held + own == 0)
        return;
    const Matrix scaled = head.observed.queries * static_cast<float>(shape.softmax_scale);
    Matrix logits(std::min(rows, rows_at_once), held + own);
    for (Index begin = 0; begin < rows; begin += rows_at_once) {
        const Index count = std::min(rows_at_once, rows - begin);
        const MatrixView queries = view(scaled.row(begin).data(), count, scaled.cols());
        const Eigen::OuterStride<> stride(logits.cols());
        multiply_transposed(queries, head.keys, {logits.data(), count, held, stride});
        if (own > 0)
            multiply_transposed(
                queries, head.observed.keys, {logits.data() + held, count, own, stride});
        for (Index i = 0; i < count; ++i)
            use_probabilities(head, begin + i, row_of(logits, i), use);
    }
}

Matrix observed_attention(const HeadView& head, const Shape& shape) {
    const auto per_head = static_cast<Index>(head.observed.positions.size());
    Matrix sums = Matrix::Zero(shape.group(), head.keys.rows() + head.observed.keys.rows());
    attention_rows(head, shape, [&](Index row, std::span<const float> weights, float factor) {
        add_scaled(weights, factor, row_of(sums, row / per_head).first(weights.size()));
    });
    return sums;
}

std::vector<float> sum_of_rows(const Matrix& sums) {
    std::vector<float> total(static_cast<std::size_t>(sums.cols()));
    for (Index row = 0; row < sums.rows(); ++row)
        for (Index i = 0; i < sums.cols(); ++i)
            total[static_cast<std::size_t>(i)] += sums(row, i);
    return total;
}

}  // namespace kvtape
