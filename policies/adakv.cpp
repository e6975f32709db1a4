#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/scored.hpp"
#include "policies/spec.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace kvtape::policies {
namespace {

/// Shares out the budget of a layer among its heads by how their scores compare, and leaves the
/// choice inside a head to the base.
struct AdaKv {
    double alpha = 0.2;
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("alpha", alpha, Real{0.0, 1.0}, "share of the budget that every head is sure of");
        field("compat",
              compat,
              Choice{"", "kvpress"},
              "a hard floor for every head; the total is exact");
    }
};

/// All scored entries of one layer, best first: equal scores by head, then by position.
struct LayerRanking {
    struct Entry {
        std::int32_t head = 0;
        Position entry = 0;  ///< index into what the head holds
    };
    std::vector<Entry> order;
};

LayerRanking rank_layer(const ScoredSession& base, std::int32_t layer, std::int32_t kv_heads) {
    std::vector<float> scores;
    std::vector<LayerRanking::Entry> entries;
    for (std::int32_t head = 0; head < kv_heads; ++head) {
        const Scores& own = base.raw_scores({layer, head});
        scores.insert(scores.end(), own.begin(), own.end());
        for (Position entry = 0; entry < std::ssize(own); ++entry)
            entries.push_back({head, entry});
    }
    LayerRanking ranking;
    ranking.order.reserve(entries.size());
    for (const Position place : rank(scores))
        ranking.order.push_back(entries[static_cast<std::size_t>(place)]);
    return ranking;
}

class AdaSession final : public Session {
  public:
    AdaSession(const AdaKv& method,
               std::unique_ptr<ScoredSession> base,
               const SessionContext& context)
        : method_(method),
          base_(std::move(base)),
          context_(context),
          rankings_(static_cast<std::size_t>(context.shape.layers)) {}

    void observe(const LayerView& layer) override {
        base_->observe(layer);
        rankings_[static_cast<std::size_t>(layer.layer)] =
            rank_layer(*base_, layer.layer, context_.shape.kv_heads);
    }

    Decision decide(const Block&, const Limit& limit) const override {
        const std::int32_t kv_heads = context_.shape.kv_heads;
        Decision decision(context_.shape.layers, kv_heads);
        parallel_for(rankings_.size(), context_.threads, [&](std::size_t i) {
            const auto layer = static_cast<std::int32_t>(i);
            const std::vector<Position> tokens = method_.compat == Compat::kvpress
                                                     ? with_floor(layer, limit)
                                                     : shrunk_to_mean(layer, limit);
            for (std::int32_t head = 0; head < kv_heads; ++head)
                decision[{layer, head}] =
                    kept({layer, head}, tokens[static_cast<std::size_t>(head)]);
        });
        return decision;
    }

    std::vector<float> scores(HeadId head, const Limit& limit) const override {
        return base_->scores(head, limit);
    }

  private:
    std::size_t heads() const { return static_cast<std::size_t>(context_.shape.kv_heads); }

    /// With compat=kvpress what is kept by rule is a tie, of which the earliest stay when not all
    /// can.
    std::vector<Position> kept(HeadId id, Position tokens) const {
        const ByRule rule = base_->rule(id, tokens);
        if (method_.compat == Compat::none || rule.first + rule.last < tokens)
            return base_->keep(id, tokens);
        const std::span<const Position> positions = base_->positions(id);
        const ByRule whole = base_->rule(id, base_->held(id));
        std::vector<Position> keep(positions.begin(), positions.begin() + whole.first);
        keep.insert(keep.end(), positions.end() - whole.last, positions.end());
        keep.resize(static_cast<std::size_t>(tokens));
        return keep;
    }

    /// What each head keeps by rule when all keep `tokens`.
    std::vector<ByRule> rules(std::int32_t layer, Position tokens) const {
        std::vector<ByRule> found;
        for (std::int32_t head = 0; head < context_.shape.kv_heads; ++head)
            found.push_back(
                base_->rule({layer, head}, std::min(tokens, base_->held({layer, head}))));
        return found;
    }

    bool is_free(const LayerRanking::Entry& entry,
                 std::int32_t layer,
                 const std::vector<ByRule>& rules) const {
        const ByRule& rule = rules[static_cast<std::size_t>(entry.head)];
        return entry.entry >= rule.first &&
               entry.entry < base_->held({layer, entry.head}) - rule.last;
    }

    /// The authors' form (Ada-SnapKV): a head gets its share of the layer's best free entries,
    /// drawn towards the mean by alpha, and what it keeps by rule on top.
    std::vector<Position> shrunk_to_mean(std::int32_t layer, const Limit& limit) const {
        const std::vector<ByRule> by_rule = rules(layer, limit.tokens);
        std::vector<Position> share(heads()), tokens(heads());
        std::int64_t room = 0;
        for (const ByRule& rule : by_rule)
            room += std::max(0, limit.tokens - rule.first - rule.last);
        for (const LayerRanking::Entry& entry : rankings_[static_cast<std::size_t>(layer)].order) {
            if (room == 0)
                break;
            if (!is_free(entry, layer, by_rule))
                continue;
            ++share[static_cast<std::size_t>(entry.head)];
            --room;
        }
        for (std::size_t head = 0; head < tokens.size(); ++head) {
            const Position ruled = by_rule[head].first + by_rule[head].last;
            const Position held = base_->held({layer, static_cast<std::int32_t>(head)});
            const double base = std::max(0, limit.tokens - ruled);
            const double own =
                (1.0 - method_.alpha) * share[head] + std::floor(method_.alpha * base);
            tokens[head] = std::min(held, ruled + static_cast<Position>(std::nearbyint(own)));
            if (limit.tokens >= held)
                tokens[head] = held;
        }
        return tokens;
    }

    /// AdaKVPress: every head is sure of its best floor(alpha * B); the rest of the layer's total
    /// goes to the best entries of all heads.
    std::vector<Position> with_floor(std::int32_t layer, const Limit& limit) const {
        std::vector<Position> tokens(heads());
        std::int64_t room = 0;
        Position most = 0;
        for (std::size_t head = 0; head < tokens.size(); ++head) {
            const Position held = base_->held({layer, static_cast<std::int32_t>(head)});
            const Position budget = kvpress_tokens(limit, held);
            most = std::max(most, budget);
            room += budget;
        }
        const Position sure =
            method_.alpha > 0.0
                ? std::max(1, static_cast<Position>(std::floor(method_.alpha * most)))
                : 0;
        room -= static_cast<std::int64_t>(tokens.size()) * sure;
        const auto take = [&](std::size_t head, Position count) {
            for (; count > 0 && room > 0; --count)
                room -= ++tokens[head] > sure ? 1 : 0;
        };
        // What is kept by rule stands above every score, in the order of the heads, and a window
        // that alone exceeds the budget competes whole.
        std::vector<ByRule> by_rule = rules(layer, most);
        if (by_rule[0].first + by_rule[0].last >= most)
            by_rule = rules(layer, std::numeric_limits<Position>::max());
        for (std::size_t head = 0; head < tokens.size(); ++head)
            take(head, by_rule[head].first + by_rule[head].last);
        for (const LayerRanking::Entry& entry : rankings_[static_cast<std::size_t>(layer)].order)
            if (is_free(entry, layer, by_rule))
                take(static_cast<std::size_t>(entry.head), 1);
        for (std::size_t head = 0; head < tokens.size(); ++head)
            tokens[head] = std::clamp(
                tokens[head], sure, base_->held({layer, static_cast<std::int32_t>(head)}));
        return tokens;
    }

    const AdaKv& method_;
    std::unique_ptr<ScoredSession> base_;
    SessionContext context_;
    std::vector<LayerRanking> rankings_;
};

class AdaPolicy final : public Policy {
  public:
    AdaPolicy(AdaKv method, PolicyRun base, const ScoringPolicy& scoring)
        : method_(method),
          base_(std::move(base)),
          scoring_(scoring) {}

    Needs needs() const override { return scoring_.needs(); }
    Json parameters() const override {
        Json values = echo_parameters(method_);
        values["base"] = base_.spec;
        values["base_parameters"] = scoring_.parameters();
        return values;
    }
    void expect_fit(const Shape& shape) const override { scoring_.expect_fit(shape); }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<AdaSession>(method_, scoring_.start_scoring(context), context);
    }

  private:
    AdaKv method_;
    PolicyRun base_;
    const ScoringPolicy& scoring_;  ///< the policy of `base_`
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    Arguments own = arguments;
    own.base.clear();
    const AdaKv method = read_parameters<AdaKv>(own);
    std::string spec = arguments.base;
    if (spec.empty())
        spec = method.compat == Compat::kvpress ? "snapkv"
                                                : "snapkv:window=32,kernel=7,pool=max,group=before";
    PolicyRun base = make_policy(spec);
    const auto* scoring = dynamic_cast<const ScoringPolicy*>(base.policy.get());
    if (scoring == nullptr || !scoring->scores())
        throw usage_error("policy adakv: " + std::string(base.info->name) +
                          " does not score tokens, so heads cannot be compared by it; name a base "
                          "that scores, such as adakv(snapkv)");
    return std::make_unique<AdaPolicy>(method, std::move(base), *scoring);
}

}  // namespace

PolicyInfo adakv() {
    return {.name = "adakv",
            .summary = "shares a layer's budget among its heads by their scores: adakv(BASE)",
            .source = "Feng et al., arXiv:2407.11550",
            .variants = "kvpress: a hard floor for every head, any base, snapkv by default",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<AdaKv>,
            .make = make};
}

}  // namespace kvtape::policies
