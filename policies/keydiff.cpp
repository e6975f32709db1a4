#include "core/kernels.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape::policies {
namespace {

using Index = Eigen::Index;

std::span<const float> row_of(MatrixView matrix, Index row) {
    return {matrix.data() + row * matrix.outerStride(), static_cast<std::size_t>(matrix.cols())};
}

float length_of(std::span<const float> x) {
    return std::sqrt(dot(x, x));
}

/// x divided by its length; a vector of zeros has no direction and stays zero.
float inverse(float length) {
    return length > 0.0f ? 1.0f / length : 0.0f;
}

/// The mean direction of the rows, up to a factor. Short runs are added in float32, the runs in
/// double, so that long contexts lose nothing.
std::vector<float> mean_direction(MatrixView rows, std::span<float> inverse_lengths) {
    constexpr Index run = 256;
    const auto depth = static_cast<std::size_t>(rows.cols());
    std::vector<double> total(depth);
    std::vector<float> part(depth);
    for (Index begin = 0; begin < rows.rows(); begin += run) {
        std::fill(part.begin(), part.end(), 0.0f);
        for (Index row = begin; row < std::min(begin + run, rows.rows()); ++row) {
            float& factor = inverse_lengths[static_cast<std::size_t>(row)];
            factor = inverse(length_of(row_of(rows, row)));
            add_scaled(row_of(rows, row), factor, part);
        }
        for (std::size_t i = 0; i < depth; ++i)
            total[i] += static_cast<double>(part[i]);
    }
    std::vector<float> mean(depth);
    for (std::size_t i = 0; i < depth; ++i)
        mean[i] = static_cast<float>(total[i] / static_cast<double>(rows.rows()));
    return mean;
}

/// Keys that point away from the mean direction of all keys are the distinctive ones: kept first
/// are those with the smallest cosine to it.
struct KeyDiff {
    static constexpr bool may_be_negative = true;
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
    Needs needs() const { return {.keys = true}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    Position budget(const Limit& limit, Position held) const {
        return tokens_of(compat, limit, held);
    }

    Scores score(const HeadView& head, const SessionContext&) const {
        Scores scores(head.positions.size());
        if (scores.empty())
            return scores;
        const std::vector<float> mean = mean_direction(head.keys, scores);
        const float shrink = inverse(length_of(mean));
        for (Index row = 0; row < head.keys.rows(); ++row) {
            float& score = scores[static_cast<std::size_t>(row)];  // the inverse length so far
            score *= -dot(row_of(head.keys, row), mean) * shrink;
        }
        return scores;
    }
};

}  // namespace

PolicyInfo keydiff() {
    return {.name = "keydiff",
            .summary = "keeps the keys that differ most from the mean direction of all keys",
            .source = "Park et al., arXiv:2504.15364",
            .variants = "kvpress: the budget arithmetic of kvpress 0.5",
            .parameters = parameters_of<KeyDiff>,
            .make = make_scored<KeyDiff>};
}

}  // namespace kvtape::policies
