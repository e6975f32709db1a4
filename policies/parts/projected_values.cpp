#include "policies/parts/projected_values.hpp"

#include "core/error.hpp"
#include "core/kernels.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// Added in double, 16 chains side by side and then in order.
double sum_of_magnitudes(const float* x, Index count) {
    constexpr Index chains = 16;
    double sums[chains] = {};
    Index i = 0;
    for (; i + chains <= count; i += chains)
        for (Index chain = 0; chain < chains; ++chain)
            sums[chain] += static_cast<double>(std::abs(x[i + chain]));
    for (; i < count; ++i)
        sums[i % chains] += static_cast<double>(std::abs(x[i]));
    double total = 0.0;
    for (const double sum : sums)
        total += sum;
    return total;
}

}  // namespace

Matrix projected_norms(const LayerView& layer,
                       const HeadView& head,
                       const Shape& shape,
                       Norm norm) {
    constexpr Index rows_at_once = 96;
    const MatrixView& projection = layer.output_projection;
    const Index dim = shape.head_dim, held = head.values.rows(), group = shape.group();
    if (projection.cols() != Index{shape.query_heads} * dim)
        throw internal_error("projecting the values of layer " + std::to_string(layer.layer) +
                             ": the output projection does not fit the query heads");
    Matrix norms = Matrix::Zero(group, held);
    Matrix projected(std::min(rows_at_once, held), projection.rows());
    for (Index g = 0; g < group; ++g) {
        const MatrixView own(projection.data() + (head.id.head * group + g) * dim,
                             projection.rows(),
                             dim,
                             Eigen::OuterStride<>(projection.outerStride()));
        const Packed packed = Packed::transposed(own);
        for (Index begin = 0; begin < held; begin += rows_at_once) {
            const Index count = std::min(rows_at_once, held - begin);
            const MatrixView values(head.values.data() + begin * head.values.outerStride(),
                                    count,
                                    dim,
                                    Eigen::OuterStride<>(head.values.outerStride()));
            const MutableMatrixView out = mutable_view(projected.data(), count, projected.cols());
            multiply(values, packed, out);
            const std::span<float> measured(norms.row(g).data() + begin,
                                            static_cast<std::size_t>(count));
            if (norm == Norm::l2) {
                squared_norms(view(projected.data(), count, projected.cols()), measured);
                for (float& length : measured)
                    length = std::sqrt(length);
                continue;
            }
            for (Index i = 0; i < count; ++i)
                measured[static_cast<std::size_t>(i)] = static_cast<float>(
                    sum_of_magnitudes(projected.row(i).data(), projected.cols()));
        }
    }
    return norms;
}

}  // namespace kvtape
