#include "core/error.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"
#include "core/reduce.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape::policies {
namespace {

/// Heavy hitters, the tokens that all queries so far attended to most, and the latest tokens. Under
/// another query source its queries are added to the sums.
struct H2o {
    enum class Variant { local, online, step, global_oracle, factory, normalised, value_norm };

    Variant variant = Variant::local;
    std::int32_t recent = 32;
    std::int32_t grace = 32;

    void fields(auto& field) {
        field(
            "variant",
            variant,
            Choice{
                "local", "online", "step", "global_oracle", "factory", "normalised", "value_norm"},
            "whose algorithm of that name (see variants)");
        field("recent", recent, Whole{0, 1 << 20}, "latest tokens of variant=factory");
        field("grace", grace, Whole{0, 1 << 20}, "youngest tokens of variant=normalised, kept");
    }
    Needs needs() const {
        return {.keys = true,
                .values = variant == Variant::value_norm,
                .column_sums = true,
                .dense_rows = variant == Variant::step,
                .future = variant == Variant::global_oracle,
                .block = token_by_token() ? 1 : 0};
    }
    Moments moments() const {
        const bool once = variant == Variant::global_oracle || token_by_token();
        return {.blocks = !once, .decoding = !once};
    }
    ByRule by_rule(Position budget, Position) const {
        if (variant == Variant::factory)
            return {.last = std::min(recent, budget)};
        if (variant == Variant::normalised)
            return {.last = std::min(grace, budget)};
        if (variant == Variant::step)
            return {.last = std::min(1, budget)};
        return {.last = budget / 2};
    }

    std::vector<Scores> score_layer(const LayerView& layer, const SessionContext& context) const {
        std::vector<Scores> scores(layer.heads.size());
        parallel_for(scores.size(), context.threads, [&](std::size_t i) {
            const HeadView& head = layer.heads[i];
            scores[i] = accumulated(head, context.shape);
            const auto queries = layer.block.end + std::ssize(head.observed.positions);
            if (variant == Variant::normalised)
                divide_by_age(scores[i], head.positions, queries);
            if (variant == Variant::value_norm)
                weigh_by_values(scores[i], head.values, queries);
        });
        return scores;
    }

  private:
    bool token_by_token() const { return variant == Variant::online || variant == Variant::step; }

    static Scores accumulated(const HeadView& head, const Shape& shape) {
        Matrix sums = head.column_sums;
        if (!head.observed.positions.empty())
            sums += observed_attention(head, shape);
        return sum_of_rows(sums);
    }

    /// By the number of queries that could see the token.
    static void divide_by_age(Scores& scores,
                              std::span<const Position> positions,
                              std::ptrdiff_t queries) {
        for (std::size_t i = 0; i < scores.size(); ++i)
            scores[i] /= static_cast<float>(queries - positions[i]);
    }

    /// a_j |v_j| over its sum, times the number of queries.
    static void weigh_by_values(Scores& scores, MatrixView values, std::ptrdiff_t queries) {
        std::vector<float> lengths(scores.size());
        squared_norms(values, lengths);
        for (std::size_t i = 0; i < scores.size(); ++i)
            scores[i] *= std::sqrt(lengths[i]);
        const double total = ordered_sum(scores);
        if (!(total > 0.0))
            return;
        const auto factor = static_cast<float>(static_cast<double>(queries) / total);
        for (float& score : scores)
            score *= factor;
    }
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    const H2o method = read_parameters<H2o>(arguments);
    if (method.recent != H2o{}.recent && method.variant != H2o::Variant::factory)
        throw usage_error(
            "policy h2o: recent exists with variant=factory alone; the others have their own rule");
    if (method.grace != H2o{}.grace && method.variant != H2o::Variant::normalised)
        throw usage_error("policy h2o: grace exists with variant=normalised alone; leave it out");
    return std::make_unique<ScoredPolicy<H2o>>(method);
}

}  // namespace

PolicyInfo h2o() {
    return {
        .name = "h2o",
        .summary = "keeps the tokens with the most accumulated attention, and the latest ones",
        .source = "Zhang et al., arXiv:2306.14048; recent = floor(B/2), heavy = B - recent",
        .variants =
            "variant=local: dense prompt, then online; online: evicts after every token of the "
            "context, attention over what is kept; step: the same with attention over all and no "
            "recent half; global_oracle: sums of all queries, later "
            "ones included (not causal: marked oracle); factory: a fixed recent window; "
            "normalised: sums per query that saw the token, after a grace period; value_norm: "
            "sums times value norms",
        .parameters = parameters_of<H2o>,
        .make = make};
}

}  // namespace kvtape::policies
