#include "core/error.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/lag.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

namespace kvtape::policies {
namespace {

/// Tokens whose keys and values stand out against the partition that follows them are kept: each
/// partition of `lag` tokens is judged once, when its successor is complete, and the same share of
/// every partition stays. Sinks and the sliding window are never judged.
struct LagKv {
    std::int32_t lag = 128;
    std::int32_t sinks = 16;
    double v_ratio = 1.0;
    std::vector<std::int32_t> skip = {};
    bool use_then_compress = true;
    LagScore score_by = LagScore::lag;
    bool cross = false;
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("lag", lag, Whole{1, 1 << 20}, "partition length");
        field("sinks",
              sinks,
              Whole{0, 1 << 20},
              "first tokens, always kept; 4 by default with compat=kvpress");
        field("v_ratio", v_ratio, Real{0.0, 1000.0}, "weight of the values' score");
        field("skip", skip, LayerList{}, "layers left uncompressed; 0+1 by default with score=l2");
        field("use_then_compress",
              use_then_compress,
              Switch{},
              "0: a running block attends to what was left of the cache before it; needs blocks "
              "of at most lag tokens");
        field("score",
              score_by,
              Choice{"lag", "local", "l2"},
              "judged against the next partition, the own one, or by key norm alone");
        field(
            "cross", cross, Switch{}, "partitions compete by raw scores; with compat=kvpress only");
        field("compat", compat, Choice{"", "kvpress"}, "a budget of the whole context, ranked");
    }
    bool skips(std::int32_t layer) const {
        return std::binary_search(skip.begin(), skip.end(), layer);
    }
    Needs needs() const {
        return {.keys = true,
                .values = v_ratio != 0.0 && score_by != LagScore::l2,
                .ahead = use_then_compress ? 0 : lag};
    }
};

/// The authors' form: every partition keeps floor(ratio * lag) of its tokens, or as many as a token
/// budget leaves after sinks and window.
class LagSession final : public Session {
  public:
    LagSession(const LagKv& method, const SessionContext& context)
        : method_(method),
          context_(context),
          order_(context.shape),
          heads_(
              order_.count(),
              {.base = method.sinks, .layout = {}, .positions = {}, .scores = {}, .places = {}}) {}

    void observe(const LayerView& layer) override {
        parallel_for(layer.heads.size(), context_.threads, [&](std::size_t i) {
            const HeadView& view = layer.heads[i];
            Head& head = heads_[order_[view.id]];
            const auto held = static_cast<Position>(view.positions.size());
            head.positions.assign(view.positions.begin(), view.positions.end());
            head.layout = lag_layout(held, head.base, method_.lag);
            if (method_.skips(layer.layer))
                head.layout = {.base = held, .lag = method_.lag};
            head.scores = lag_scores(
                view, head.layout, static_cast<float>(method_.v_ratio), method_.score_by);
            head.places.clear();
        });
    }

    Decision decide(const Block&, const Limit& limit) const override {
        return order_.decide(context_.threads,
                             [&](HeadId id) { return cut(heads_[order_[id]], limit); });
    }

    void settle(const Decision& decision) override {
        for (std::size_t i = 0; i < heads_.size(); ++i) {
            Head& head = heads_[i];
            const auto kept = std::ssize(decision[order_.id(i)]);
            if (head.layout.partitions > 0)
                head.base = static_cast<Position>(kept) - head.layout.window;
        }
    }

    std::vector<float> scores(HeadId id, const Limit&) const override {
        const Head& head = heads_[order_[id]];
        std::vector<float> shown(head.positions.size(), std::numeric_limits<float>::infinity());
        std::copy(head.scores.begin(),
                  head.scores.end(),
                  shown.begin() +
                      std::min<Position>(head.layout.base, static_cast<Position>(shown.size())));
        return shown;
    }

    /// What is settled or not judged yet is kept at any limit; of every partition the best entry
    /// needs room for one in each partition, and so on.
    std::vector<Position> survival(HeadId id) const override {
        const Head& head = heads_[order_[id]];
        std::vector<Position> from(head.positions.size(), 1);
        if (head.layout.partitions == 0)
            return from;
        const std::vector<Position> places = places_in_partitions(head);
        for (std::size_t i = 0; i < places.size(); ++i)
            from[static_cast<std::size_t>(head.layout.base) + i] =
                head.layout.base + head.layout.window + head.layout.partitions * (places[i] + 1);
        return from;
    }

  private:
    struct Head {
        Position base = 0;  ///< leading entries that are settled
        LagLayout layout;
        std::vector<Position> positions;
        std::vector<float> scores;  ///< of the judged partitions
        /// Of every judged entry, its place in its partition. Made by the first decision.
        mutable std::vector<Position> places;
    };

    static std::vector<Position> places_in_partitions(const Head& head) {
        std::vector<Position> found;
        found.reserve(head.scores.size());
        const auto lag = static_cast<std::size_t>(head.layout.lag);
        for (std::size_t begin = 0; begin < head.scores.size(); begin += lag) {
            const auto part = places(rank(std::span(head.scores).subspan(begin, lag)));
            found.insert(found.end(), part.begin(), part.end());
        }
        return found;
    }

    /// How many tokens of each partition stay.
    static Position kept_per_partition(const LagLayout& layout, const Limit& limit) {
        if (limit.ratio)
            return static_cast<Position>(limit.ratio->floor_of(layout.lag));
        const std::int64_t room = std::int64_t{limit.tokens} - layout.base - layout.window;
        return static_cast<Position>(
            std::clamp<std::int64_t>(room / layout.partitions, 0, layout.lag));
    }

    static std::vector<Position> cut(const Head& head, const Limit& limit) {
        const LagLayout& layout = head.layout;
        if (layout.partitions == 0)
            return head.positions;
        if (head.places.size() != head.scores.size())
            head.places = places_in_partitions(head);
        const Position kept = kept_per_partition(layout, limit);
        const Position chosen = layout.partitions * kept;
        const std::span<const Position> positions = head.positions;
        std::vector<Position> keep(static_cast<std::size_t>(layout.base + chosen + layout.window));
        std::copy_n(positions.begin(), layout.base, keep.begin());
        copy_below(head.places,
                   kept,
                   positions.subspan(static_cast<std::size_t>(layout.base), head.places.size()),
                   std::span(keep).subspan(static_cast<std::size_t>(layout.base),
                                           static_cast<std::size_t>(chosen)));
        std::copy(positions.end() - layout.window, positions.end(), keep.end() - layout.window);
        return keep;
    }

    const LagKv& method_;
    SessionContext context_;
    HeadOrder order_;
    std::vector<Head> heads_;
};

class LagPolicy final : public Policy {
  public:
    explicit LagPolicy(LagKv method) : method_(std::move(method)) {}
    Needs needs() const override { return method_.needs(); }
    Moments moments() const override { return {.blocks = true, .decoding = true}; }
    Json parameters() const override { return echo_parameters(method_); }
    void expect_fit(const Shape& shape) const override { expect_layers(method_.skip, shape); }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<LagSession>(method_, context);
    }

  private:
    LagKv method_;
};

/// The form in kvpress: one budget for the whole context. Scores become ranks inside their
/// partition, so that all partitions give up the same share, unless they compete by raw scores.
/// A context too short to judge keeps sinks and the latest tokens; so does a budget that does not
/// hold sinks and window.
struct LagKvpress : LagKv {
    Position budget(const Limit& limit, Position held) const { return kvpress_tokens(limit, held); }
    ByRule by_rule(Position budget, Position held) const {
        const LagLayout layout = lag_layout(held, sinks, lag);
        const Position first = std::min(sinks, budget);
        const Position window = layout.partitions == 0 ? held : layout.window;
        return {.first = first, .last = std::min(window, budget - first)};
    }
    Scores score(const HeadView& head, const SessionContext&) const {
        const auto held = static_cast<Position>(head.positions.size());
        const LagLayout layout = lag_layout(held, sinks, lag);
        if (layout.partitions == 0)
            return {};
        Scores judged = lag_scores(head, layout, static_cast<float>(v_ratio));
        // Keys and values weigh half each.
        for (float& score : judged)
            score *= 0.5f;
        if (!cross)
            judged = ranks(judged);
        Scores scores(head.positions.size(), 1.0f);
        std::copy(judged.begin(), judged.end(), scores.begin() + layout.base);
        return scores;
    }

  private:
    /// Each score becomes its place in its partition, worst first and equal ones in their order
    /// (two stable sorts in kvpress), over `lag`.
    Scores ranks(Scores judged) const {
        for (float& score : judged)
            score = -score;
        Scores ranked(judged.size());
        const auto length = static_cast<std::size_t>(lag);
        for (std::size_t begin = 0; begin < judged.size(); begin += length) {
            float place = 0.0f;
            for (const Position entry : rank(std::span(judged).subspan(begin, length)))
                ranked[begin + static_cast<std::size_t>(entry)] = place++ / static_cast<float>(lag);
        }
        return ranked;
    }
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    LagKv method = read_parameters<LagKv>(arguments);
    if (method.score_by == LagScore::l2) {
        const auto weighs_values = [](const auto& value) { return value.first == "v_ratio"; };
        if (std::any_of(arguments.values.begin(), arguments.values.end(), weighs_values))
            throw usage_error("policy lagkv: v_ratio does not exist with score=l2; leave it out");
        method = read_parameters<LagKv>(arguments, {.v_ratio = 0.0, .skip = {0, 1}});
    }
    if (method.compat != Compat::none && method.score_by != LagScore::lag)
        throw usage_error(
            "policy lagkv: score=" + std::string(method.score_by == LagScore::l2 ? "l2" : "local") +
            " does not exist with compat=kvpress; leave one of them out");
    if (method.compat == Compat::none) {
        if (method.cross)
            throw usage_error(
                "policy lagkv: cross=1 needs compat=kvpress; without it every "
                "partition keeps the same share");
        return std::make_unique<LagPolicy>(std::move(method));
    }
    if (method.v_ratio != 1.0 || !method.skip.empty() || !method.use_then_compress)
        throw usage_error(
            "policy lagkv: v_ratio, skip and use_then_compress do not exist with compat=kvpress; "
            "leave them out");
    method = read_parameters<LagKv>(arguments, {.sinks = 4});
    return std::make_unique<ScoredPolicy<LagKvpress>>(LagKvpress{std::move(method)});
}

}  // namespace

PolicyInfo lagkv() {
    return {.name = "lagkv",
            .summary = "keeps the tokens that stand out against the partition after them",
            .source = "Liang et al., arXiv:2504.04704; AI-Lab-China-Merchants-Bank/LagKV 2a9d19e",
            .variants =
                "score=local (localkv) and score=l2 (l2kv) are comparisons from the same paper; "
                "kvpress: the budget covers the whole context, scores are ranks inside a "
                "partition, 4 sinks; cross=1 compares raw scores",
            .budget_rule = BudgetRule::own,
            .parameters = parameters_of<LagKv>,
            .make = make};
}

}  // namespace kvtape::policies
