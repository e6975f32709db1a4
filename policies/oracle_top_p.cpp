#include "core/topk.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

/// How many tokens were needed: keeps, for every future query and query head, the fewest tokens
/// that hold a share p of what it attends to in the cache, whatever the budget. A token's score is
/// the share that the query which needs it most leaves to it and the lesser ones.
struct OracleTopP {
    double p = 0.95;

    void fields(auto& field) {
        field("p", p, Real{0.0, 1.0}, "share of its attention that every query keeps");
    }
    Needs needs() const { return {.keys = true, .future = true}; }

    Scores score(const HeadView& head, const SessionContext& context) const {
        Scores scores(head.positions.size());
        attention_rows(
            head, context.shape, [&](Eigen::Index, std::span<const float> weights, float) {
                raise(scores, weights);
            });
        return scores;
    }

  private:
    /// To the share of `weights` at and below each entry, where that is more.
    static void raise(Scores& scores, std::span<const float> weights) {
        const std::vector<Position> order = rank(weights);
        double left = 0.0;
        // Upwards, so that small shares are not lost in the sum of large ones.
        std::vector<double> from(order.size());
        for (std::size_t place = order.size(); place-- > 0;) {
            left += static_cast<double>(weights[static_cast<std::size_t>(order[place])]);
            from[place] = left;
        }
        if (!(left > 0.0))
            return;
        for (std::size_t place = 0; place < order.size(); ++place) {
            float& score = scores[static_cast<std::size_t>(order[place])];
            score = std::max(score, static_cast<float>(from[place] / left));
        }
    }
};

/// Cuts where the scores say, not the budget.
class TopPSession final : public ScoredSession {
  public:
    TopPSession(const OracleTopP& method, const SessionContext& context)
        : ScoredSession(context),
          method_(method) {}

    Decision decide(const Block&, const Limit&) const override {
        const Shape& shape = context().shape;
        Decision decision(shape.layers, shape.kv_heads);
        for (std::int32_t layer = 0; layer < shape.layers; ++layer)
            for (std::int32_t head = 0; head < shape.kv_heads; ++head)
                decision[{layer, head}] = keep({layer, head}, needed({layer, head}));
        return decision;
    }

    std::vector<Position> survival(HeadId) const override { return {}; }

  private:
    /// A token is needed as long as those before it hold less than p; at least one always is.
    Position needed(HeadId id) const {
        const Scores& scores = raw_scores(id);
        const auto left = static_cast<float>(1.0 - method_.p);
        const auto count =
            std::count_if(scores.begin(), scores.end(), [&](float x) { return x > left; });
        return std::min(held(id), std::max<Position>(1, static_cast<Position>(count)));
    }
    Scores score(const HeadView& head) override { return method_.score(head, context()); }
    Position budget(const Limit&, Position held, std::int32_t) const override { return held; }
    ByRule by_rule(Position, Position) const override { return {}; }

    const OracleTopP& method_;
};

class TopPPolicy final : public Policy {
  public:
    explicit TopPPolicy(OracleTopP method) : method_(method) {}
    Needs needs() const override { return method_.needs(); }
    Json parameters() const override { return echo_parameters(method_); }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<TopPSession>(method_, context);
    }

  private:
    OracleTopP method_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    return std::make_unique<TopPPolicy>(read_parameters<OracleTopP>(arguments));
}

}  // namespace

PolicyInfo oracle_top_p() {
    return {.name = "oracle_top_p",
            .summary = "keeps the fewest tokens that hold a share p of every future query's mass",
            .source = "upper bound per query; the budget plays no part",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<OracleTopP>,
            .make = make};
}

}  // namespace kvtape::policies
