#include "core/parallel.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/scored.hpp"

namespace kvtape::policies {
namespace {

/// The mean probability that a token got from the queries that could see it. Nothing is protected:
/// the latest tokens are judged by very few queries. Under another query source its queries are
/// added to those of the context.
struct ObservedAttention {
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
    Needs needs() const { return {.keys = true, .column_sums = true}; }
    Position budget(const Limit& limit, Position held) const {
        return tokens_of(compat, limit, held);
    }

    std::vector<Scores> score_layer(const LayerView& layer, const SessionContext& context) const {
        std::vector<Scores> scores(layer.heads.size());
        parallel_for(scores.size(), context.threads, [&](std::size_t i) {
            scores[i] = score(layer.heads[i], layer.block.end, context.shape);
        });
        return scores;
    }

  private:
    static Scores score(const HeadView& head, Position now, const Shape& shape) {
        Matrix sums = head.column_sums;
        if (!head.observed.positions.empty())
            sums += observed_attention(head, shape);
        Scores scores = sum_of_rows(sums);
        const auto more = std::ssize(head.observed.positions);
        for (std::size_t i = 0; i < scores.size(); ++i) {
            const auto seen = now - head.positions[i] + more;
            scores[i] /= static_cast<float>(seen * shape.group());
        }
        return scores;
    }
};

}  // namespace

PolicyInfo observed_attention() {
    return {.name = "observed_attention",
            .summary = "keeps the tokens with the most attention per query that saw them",
            .source = "kvpress, ObservedAttentionPress; after Zhang et al., arXiv:2306.14048",
            .variants = "kvpress: the budget arithmetic of kvpress 0.5",
            .parameters = parameters_of<ObservedAttention>,
            .make = make_scored<ObservedAttention>};
}

}  // namespace kvtape::policies
