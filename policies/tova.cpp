#include "core/error.hpp"
#include "core/parallel.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/finite.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <functional>

namespace kvtape::policies {
namespace {

/// The last query says what still matters: keeps what it attends to on average over all query heads
/// of the layer, the same tokens in every KV head, and the last token itself.
struct Tova {
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
    Needs needs() const { return {.keys = true, .window = 1}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    Position budget(const Limit& limit, Position held) const {
        return tokens_of(compat, limit, held);
    }
    ByRule by_rule(Position budget, Position) const { return {.last = std::min(1, budget)}; }

    std::vector<Scores> score_layer(const LayerView& layer, const SessionContext& context) const {
        std::vector<Scores> of_head(layer.heads.size());
        parallel_for(of_head.size(), context.threads, [&](std::size_t i) {
            of_head[i] = sum_of_rows(observed_attention(layer.heads[i], context.shape));
            check_scores(layer.heads[i], of_head[i]);
        });
        Scores mean(layer.heads.empty() ? 0 : layer.heads[0].positions.size());
        for (const Scores& sums : of_head) {
            if (sums.size() != mean.size())
                throw internal_error("tova: the KV heads of a layer hold different tokens");
            std::transform(sums.begin(), sums.end(), mean.begin(), mean.begin(), std::plus<>());
        }
        const auto votes = static_cast<float>(context.shape.query_heads) *
                           static_cast<float>(layer.heads[0].observed.positions.size());
        for (float& score : mean)
            score /= votes;
        return std::vector<Scores>(layer.heads.size(), mean);
    }
};

}  // namespace

PolicyInfo tova() {
    return {.name = "tova",
            .summary = "keeps what the last query attends to, the same tokens in every head",
            .source = "Oren et al., arXiv:2401.06104",
            .variants = "kvpress: the budget arithmetic of kvpress 0.5",
            .parameters = parameters_of<Tova>,
            .make = make_scored<Tova>};
}

}  // namespace kvtape::policies
