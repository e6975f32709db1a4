#include "core/kernels.hpp"
#include "policies/parts/pooling.hpp"
#include "policies/parts/redundancy.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

using Index = Eigen::Index;

/// Tokens that matter to the last queries and do not repeat others: attention votes of the window,
/// the strongest query head of a group speaking for it, against how similar a key is to all keys.
/// Of a group of similar keys the most recent is spared. The window itself stays.
struct RKv {
    static constexpr bool may_be_negative = true;
    std::int32_t window = 8;
    std::int32_t kernel = 7;
    double lambda = 0.07;
    double threshold = 0.5;

    void fields(auto& field) {
        field("window", window, Whole{1, 65536}, "last tokens: they vote and stay");
        field("kernel",
              kernel,
              Whole{.lowest = 1, .highest = 1023, .odd = true},
              "max pooling width");
        field("lambda", lambda, Real{0.0, 1.0}, "weight of attention against redundancy");
        field("threshold", threshold, Real{-1.0, 1.0}, "cosine above which keys repeat each other");
    }
    Needs needs() const { return {.keys = true, .window = window}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    ByRule by_rule(Position budget, Position) const { return {.last = std::min(window, budget)}; }

    using Memory = SimilarKeys;

    Scores score(const HeadView& head, const SessionContext& context, Memory& similar) const {
        const Index past = std::ssize(head.positions) - window;
        if (past <= 0)
            return {};
        Scores scores = votes(head, past, context.shape);
        std::vector<float> redundancy =
            similar.mean_similarity(head.positions, head.keys, static_cast<float>(threshold));
        const double total = exp_shifted(redundancy, maximum(redundancy));
        for (std::size_t i = 0; i < scores.size(); ++i)
            scores[i] =
                static_cast<float>(lambda * static_cast<double>(scores[i]) -
                                   (1.0 - lambda) * static_cast<double>(redundancy[i]) / total);
        return scores;
    }

  private:
    /// A softmax over the entries before the window alone, of the largest logit of the group; the
    /// mean over the queries, pooled.
    Scores votes(const HeadView& head, Index past, const Shape& shape) const {
        const auto queries = static_cast<Index>(head.observed.positions.size());
        Scores votes(static_cast<std::size_t>(past));
        const Matrix scaled = head.observed.queries * static_cast<float>(shape.softmax_scale);
        Matrix logits(scaled.rows(), past);
        multiply_transposed(kvtape::view(scaled),
                            MatrixView(head.keys.data(),
                                       past,
                                       head.keys.cols(),
                                       Eigen::OuterStride<>(head.keys.outerStride())),
                            mutable_view(logits));
        for (Index query = 0; query < queries; ++query) {
            const auto row = [&](Index of_group) {
                return std::span<float>(logits.row(of_group * queries + query).data(),
                                        votes.size());
            };
            const std::span<float> strongest = row(0);
            for (Index g = 1; g < shape.group(); ++g)
                std::transform(strongest.begin(),
                               strongest.end(),
                               row(g).begin(),
                               strongest.begin(),
                               [](float a, float b) { return a < b ? b : a; });
            const double total = exp_shifted(strongest, maximum(strongest));
            add_scaled(
                strongest, static_cast<float>(1.0 / (total * static_cast<double>(queries))), votes);
        }
        return pooled(votes, Pool::max, kernel);
    }
};

}  // namespace

PolicyInfo r_kv() {
    return {.name = "r_kv",
            .summary = "keeps what recent queries attend to and other keys do not repeat",
            .source =
                "Cai et al., arXiv:2505.24133; defaults of the authors' code (the paper has "
                "lambda 0.1)",
            .parameters = parameters_of<RKv>,
            .make = make_scored<RKv>};
}

}  // namespace kvtape::policies
