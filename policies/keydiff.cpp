#include "core/kernels.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

using Index = Eigen::Index;

constexpr Index run = 256;  ///< rows that stay in the cache between two uses

MatrixView rows_of(MatrixView rows, Index begin) {
    return MatrixView(rows.data() + begin * rows.outerStride(),
                      std::min(run, rows.rows() - begin),
                      rows.cols(),
                      Eigen::OuterStride<>(rows.outerStride()));
}

/// The mean direction of the rows, up to a factor. Short runs are added in float32, the runs in
/// double, so that long contexts lose nothing.
std::vector<float> mean_direction(MatrixView rows, std::span<float> inverse_lengths) {
    const auto depth = static_cast<std::size_t>(rows.cols());
    std::vector<double> total(depth);
    std::vector<float> part(depth);
    for (Index begin = 0; begin < rows.rows(); begin += run) {
        const MatrixView some = rows_of(rows, begin);
        const std::span<float> factors = inverse_lengths.subspan(
            static_cast<std::size_t>(begin), static_cast<std::size_t>(some.rows()));
        inverse_norms(some, factors);
        std::fill(part.begin(), part.end(), 0.0f);
        add_scaled_rows(some, factors, part);
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
        float shrink = 0.0f;
        inverse_norms(view(mean.data(), 1, std::ssize(mean)), {&shrink, 1});
        std::vector<float> products(scores.size());
        dots(head.keys, mean, products);
        for (std::size_t i = 0; i < scores.size(); ++i)  // the inverse length so far
            scores[i] *= -products[i] * shrink;
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
