#include "analyze/leave_one_out.hpp"

#include "core/kernels.hpp"
#include "core/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// The same by its meaning: how far the output moves when the weights of all other tokens are
/// scaled to add up to one. For tokens that hold most of the probability, where 1 - p and o - v
/// are small and o itself is mostly v.
double moved_without(const float* weights, MatrixView values, Index token) {
    const auto dim = static_cast<std::size_t>(values.cols());
    std::vector<double> all(dim, 0.0), others(dim, 0.0);
    double rest = 0.0;
    for (Index t = 0; t < values.rows(); ++t) {
        if (t == token || weights[t] == 0.0f)
            continue;
        const auto weight = static_cast<double>(weights[t]);
        rest += weight;
        for (std::size_t i = 0; i < dim; ++i)
            others[i] += weight * static_cast<double>(values(t, static_cast<Index>(i)));
    }
    const auto own = static_cast<double>(weights[token]);
    double squared = 0.0;
    for (std::size_t i = 0; i < dim; ++i) {
        const auto value = static_cast<double>(values(token, static_cast<Index>(i)));
        const double before = (others[i] + own * value) / (rest + own);
        const double off = before - (rest > 0.0 ? others[i] / rest : 0.0);
        squared += off * off;
    }
    return std::sqrt(squared);
}

}  // namespace

std::vector<double> leave_one_out(std::span<const MatrixView> attention,
                                  MatrixView values,
                                  Position tokens) {
    std::vector<double> effect(static_cast<std::size_t>(tokens), 0.0);
    const Packed packed = Packed::straight(values);
    const MatrixView those = view(values.data(), tokens, values.cols());
    const Packed packed_rows = Packed::transposed(those);
    std::vector<float> lengths(effect.size());
    squared_norms(those, lengths);
    double probes = 0.0;
    for (const MatrixView& weights : attention) {
        Matrix outputs(weights.rows(), values.cols()), products(weights.rows(), tokens);
        multiply(weights, packed, mutable_view(outputs));
        for (Index row = 0; row < weights.rows(); ++row) {
            const float* of_probe = weights.data() + row * weights.outerStride();
            outputs.row(row) *=
                static_cast<float>(1.0 / ordered_sum(std::span<const float>(
                                             of_probe, static_cast<std::size_t>(weights.cols()))));
        }
        multiply(view(outputs), packed_rows, mutable_view(products));
        std::vector<float> own(static_cast<std::size_t>(weights.rows()));
        squared_norms(view(outputs), own);
        for (Index row = 0; row < weights.rows(); ++row) {
            const float* of_probe = weights.data() + row * weights.outerStride();
            const double whole = ordered_sum(
                std::span<const float>(of_probe, static_cast<std::size_t>(weights.cols())));
            for (Index t = 0; t < tokens; ++t) {
                const double p = static_cast<double>(of_probe[t]) / whole;
                const auto at = static_cast<std::size_t>(t);
                const double squared = static_cast<double>(own[static_cast<std::size_t>(row)]) +
                                       static_cast<double>(lengths[at]) -
                                       2.0 * static_cast<double>(products(row, t));
                effect[at] += p > 0.5 ? moved_without(of_probe, values, t)
                                      : p / (1.0 - p) * std::sqrt(std::max(0.0, squared));
            }
            probes += 1.0;
        }
    }
    for (double& of_token : effect)
        of_token /= probes;
    return effect;
}

}  // namespace kvtape
