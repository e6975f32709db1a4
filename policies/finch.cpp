#include "core/kernels.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <limits>

namespace kvtape::policies {
namespace {

/// The question is the observation window: what its tokens attend to is kept, whatever the query
/// source. A row that sees more keys spreads thinner, so row i counts times the number of keys
/// before it. Votes are not smoothed. What is held of the question itself stays.
struct Finch {
    void fields(auto&) {}
    Needs needs() const { return {.keys = true, .probes = true}; }
    Moments moments() const { return {.blocks = true}; }

    Scores score(const HeadView& head, const SessionContext& context) const {
        const auto question =
            std::lower_bound(head.positions.begin(), head.positions.end(), context.context_len);
        const std::ptrdiff_t past = question - head.positions.begin();
        Scores scores(head.positions.size(), std::numeric_limits<float>::max());
        const std::span<float> votes(scores.data(), static_cast<std::size_t>(past));
        std::fill(votes.begin(), votes.end(), 0.0f);
        // The question attends to what is held before it and, causally, to itself.
        const HeadView before{.id = head.id,
                              .positions = head.positions.first(votes.size()),
                              .keys = MatrixView(head.keys.data(),
                                                 past,
                                                 head.keys.cols(),
                                                 Eigen::OuterStride<>(head.keys.outerStride())),
                              .observed = head.observed};
        const std::ptrdiff_t rows = std::ssize(head.observed.positions);
        attention_rows(before,
                       context.shape,
                       [&](Eigen::Index row, std::span<const float> weights, float factor) {
                           const auto visible_before = static_cast<float>(past + row % rows);
                           add_scaled(weights.first(votes.size()), factor * visible_before, votes);
                       });
        for (float& vote : votes)
            vote /= static_cast<float>(rows * context.shape.group());
        return scores;
    }
};

}  // namespace

PolicyInfo finch() {
    return {.name = "finch",
            .summary = "keeps what the question attends to, every row at its own weight",
            .source = "Corallo and Papotti, arXiv:2408.00167",
            .variants = "rerotate(finch): the authors' cache, numbered without gaps",
            .parameters = parameters_of<Finch>,
            .make = make_scored<Finch>};
}

}  // namespace kvtape::policies
