#include "core/kernels.hpp"
#include "policies/parts/query_distribution.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape::policies {
namespace {

using Index = Eigen::Index;

/// Queries of the future are thought to be drawn from the distribution that the queries of the
/// context had before RoPE, turned to their positions. A token is worth the attention it can expect
/// of them, times the length of its value.
struct ExpectedAttention {
    std::int32_t future = 512;
    std::int32_t sinks = 4;
    bool covariance = true;
    bool vnorm = true;
    double epsilon = 0.0;
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("future", future, Whole{1, 1 << 20}, "positions after the context to expect");
        field("sinks", sinks, Whole{0, 65536}, "first tokens: always kept, their queries ignored");
        field(
            "covariance", covariance, Switch{}, "how queries scatter counts, not their mean alone");
        field("vnorm", vnorm, Switch{}, "scores are multiplied by the length of the value");
        field("epsilon", epsilon, Real{0.0, 1.0}, "added to a probability before that");
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
    Needs needs() const {
        return {.keys = true, .values = vnorm, .statistics = true, .statistics_from = sinks};
    }
    ByRule by_rule(Position budget, Position) const { return {.first = std::min(sinks, budget)}; }
    Position budget(const Limit& limit, Position held) const {
        return tokens_of(compat, limit, held);
    }

    Scores score(const HeadView& head, const SessionContext& context) const {
        const Index held = std::ssize(head.positions);
        const Index past = held - std::min<Index>(sinks, held);
        const Index group = head.statistics.mean.rows();
        Scores scores(static_cast<std::size_t>(held));
        if (past == 0)
            return scores;
        Matrix logits(group, past);
        expect_logits(head, context, held - past, logits);
        const std::span<float> judged = std::span(scores).last(static_cast<std::size_t>(past));
        for (Index g = 0; g < group; ++g) {
            const std::span<float> row(logits.row(g).data(), judged.size());
            const double total = exp_shifted(row, maximum(row));
            add_scaled(row, static_cast<float>(1.0 / (total * static_cast<double>(group))), judged);
        }
        if (vnorm)
            weigh_by_values(head, scores);
        return scores;
    }

  private:
    /// logits(g, j) = ln E exp(scale * q_g . k) for the key of entry `first` + j.
    void expect_logits(const HeadView& head,
                       const SessionContext& context,
                       Index first,
                       Matrix& logits) const {
        constexpr Index rows_at_once = 128;
        const Index dim = head.keys.cols(), held = first + logits.cols();
        const AverageTurn turn(context.rotation, head.positions.back() + 1, future);
        std::vector<float> linear;
        std::vector<Packed> quadratic;
        for (Index g = 0; g < logits.rows(); ++g) {
            ExpectedQuery query = turn.expected(head.statistics, g, context.shape.softmax_scale);
            linear.insert(linear.end(), query.linear.begin(), query.linear.end());
            if (covariance)
                quadratic.push_back(Packed::straight(view(query.quadratic.data(), dim, dim)));
        }
        Matrix weights(rows_at_once, dim);
        for (Index begin = first; begin < held; begin += rows_at_once) {
            const Index count = std::min(rows_at_once, held - begin);
            const MatrixView keys(head.keys.data() + begin * head.keys.outerStride(),
                                  count,
                                  dim,
                                  Eigen::OuterStride<>(head.keys.outerStride()));
            for (Index g = 0; g < logits.rows(); ++g) {
                // k . (A k + b), row by row
                const MatrixView b = view(linear.data() + g * dim, 1, dim);
                weights.topRows(count).rowwise() = b.row(0);
                if (covariance)
                    multiply_add(keys,
                                 quadratic[static_cast<std::size_t>(g)],
                                 mutable_view(weights.data(), count, dim));
                for (Index i = 0; i < count; ++i)
                    logits(g, begin - first + i) = dot(row_of(keys, i), row_of(view(weights), i));
            }
        }
    }

    void weigh_by_values(const HeadView& head, Scores& scores) const {
        std::vector<float> norms(scores.size());
        squared_norms(head.values, norms);
        for (std::size_t i = 0; i < scores.size(); ++i)
            scores[i] = (scores[i] + static_cast<float>(epsilon)) * std::sqrt(norms[i]);
    }

    static std::span<const float> row_of(MatrixView matrix, Index row) {
        return {matrix.data() + row * matrix.outerStride(),
                static_cast<std::size_t>(matrix.cols())};
    }
};

}  // namespace

PolicyInfo expected_attention() {
    return {.name = "expected_attention",
            .summary = "keeps what future queries are expected to attend to, by the queries so far",
            .source = "Devoto et al., arXiv:2510.00636; NVIDIA/kvpress 0.5",
            .variants = "kvpress: the budget arithmetic of kvpress 0.5",
            .parameters = parameters_of<ExpectedAttention>,
            .make = make_scored<ExpectedAttention>};
}

}  // namespace kvtape::policies
