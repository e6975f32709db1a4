#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/ems_classes.hpp"
#include "policies/parts/global_local.hpp"
#include "policies/parts/likeness.hpp"
#include "policies/parts/merging.hpp"
#include "policies/parts/parameters.hpp"
#include "policies/parts/unturned.hpp"
#include "policies/policy.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace kvtape::policies {
namespace {

/// Evict, then merge. Entries are judged by all the attention they got so far, or by that of the
/// last queries where it is more. The best become class centers and stay; of the others, those that
/// still matter are merged into the center they are most alike, and the rest goes. How many still
/// matter depends on the head: a sparse one merges little.
///
/// Reconstructed from the abstract, the score formula and reviews; no code is public. The score,
/// the likeness as a product of two cosines, merging by score with lengths of keys apart, and
/// merging while decoding are the method's. Ours are: `window` and what is protected, how many are
/// worth merging (`gamma`, `rho`), when two are alike (`tau`, cosines below zero count as none),
/// that a protected entry takes in nothing, that a center inherits the attention of what it took
/// in, that every head keeps as many, that keys are compared as cached, the mean over the query
/// heads of a group, `interval`, and that while decoding the last queries vote over what is held at
/// that time. All but the mean, which decides as any other factor would, can be chosen otherwise.
struct Ems {
    enum class Smoothing { none, avg, max };

    std::int32_t window = 32;
    std::optional<std::int32_t> recent;
    std::int32_t sinks = 0;
    double alpha = 1.0;
    double gamma = 4.0;
    double rho = 0.98;
    double tau = 0.5;
    bool literal_product = false;
    bool into_protected = false;
    bool inherit = true;
    bool ragged = false;
    bool pre_rope = false;
    Smoothing pool = Smoothing::none;
    std::int32_t kernel = 7;
    std::int32_t interval = 32;

    void fields(auto& field) {
        field("window", window, Whole{1, 65536}, "last queries, which vote");
        field("recent",
              recent,
              Optional<Whole>{{0, 65536}},
              "last entries, always kept; as many as vote unless set");
        field("sinks", sinks, Whole{0, 65536}, "first entries, always kept");
        field("alpha", alpha, Real{0.0, 1000.0}, "factor on the score that all queries give");
        field("gamma",
              gamma,
              Real{0.0, 1000.0},
              "merged entries, at most, as a multiple of those kept");
        field("rho", rho, Real{0.0, 1.0}, "share of a head's score that is kept or merged");
        field("tau", tau, Real{0.0, 2.0}, "least likeness to merge; above 1 nothing is merged");
        field("literal_product",
              literal_product,
              Switch{},
              "two cosines below zero make a likeness above zero");
        field("into_protected",
              into_protected,
              Switch{},
              "entries are also merged into those that are always kept");
        field("inherit",
              inherit,
              Switch{},
              "an entry that took in others has their attention in later scores");
        field("ragged",
              ragged,
              Switch{},
              "the heads of a layer share their budget by score, a fifth of it being sure");
        field("pre_rope",
              pre_rope,
              Switch{},
              "keys are compared and merged as they were before rotary embedding");
        field("pool",
              pool,
              Choice{"none", "avg", "max"},
              "how the votes of the last queries are smoothed over neighbours");
        field("kernel", kernel, Whole{.lowest = 1, .highest = 1023, .odd = true}, "pooling width");
        field("interval",
              interval,
              Whole{1, 65536},
              "while decoding, entries above the budget at which a head is compressed again");
    }
    Needs needs() const {
        return {.keys = true,
                .values = true,
                .window = window,
                .column_sums = true,
                .merges = true,
                .rotation = pre_rope};
    }
    GlobalLocalOptions score_options() const {
        GlobalLocalOptions options{.alpha = alpha, .kernel = kernel};
        if (pool != Smoothing::none)
            options.pool = pool == Smoothing::avg ? Pool::avg : Pool::max;
        return options;
    }
    ByRule protects() const { return {.first = sinks, .last = recent.value_or(window)}; }
    bool fits(const Limit& limit) const {
        return limit.tokens >= protects().first + protects().last;
    }
};

class EmsSession final : public Session {
  public:
    EmsSession(const Ems& method, const SessionContext& context)
        : method_(method),
          context_(context),
          layers_(static_cast<std::size_t>(context.shape.layers),
                  Layer(static_cast<std::size_t>(context.shape.kv_heads))) {}

    void observe(const LayerView& layer) override {
        for (const HeadView& view : layer.heads) {
            Head& head = layers_[static_cast<std::size_t>(view.id.layer)]
                                [static_cast<std::size_t>(view.id.head)];
            head.view.emplace(view);
            head.queries = layer.block.end;
            head.first = layer.block.begin == 0;
            head.positions.assign(view.positions.begin(), view.positions.end());
            head.absorbed.resize(head.positions.size());
            head.scores.clear();
        }
        // While decoding, a head is judged when it is compressed.
        if (layer.block.begin == 0)
            judge(layers_[static_cast<std::size_t>(layer.layer)]);
    }

    Decision decide(const Block&, const Limit& limit) const override {
        Decision decision(context_.shape.layers, context_.shape.kv_heads, Merging::yes);
        for (const Layer& layer : layers_) {
            if (!layer.front().view)
                continue;
            if (!compresses(layer, limit)) {
                for (const Head& head : layer)
                    decision[head.view->id] = head.positions;
                continue;
            }
            const std::vector<Position> tokens = tokens_of(layer, limit);
            parallel_for(layer.size(), context_.threads, [&](std::size_t head) {
                compress(layer[head], tokens[head], decision);
            });
        }
        return decision;
    }

    void settle(const Decision& decision) override {
        for (Layer& layer : layers_)
            for (Head& head : layer)
                if (head.view)
                    settle(head, decision);
    }

    std::vector<float> scores(HeadId id, const Limit& limit) const override {
        const Head& head = at(id);
        const Layer& layer = layers_[static_cast<std::size_t>(id.layer)];
        if (!head.view || !(head.first || compresses(layer, limit)))
            return {};
        judge(head);
        std::vector<float> shown = head.scores;
        const Position held = head.held();
        const ByRule rule = method_.protects();
        const Position first = method_.fits(limit) ? std::min(rule.first, held) : 0;
        const Position last =
            method_.fits(limit) ? std::min(rule.last, held) : std::min(limit.tokens, held);
        constexpr float kept_by_rule = std::numeric_limits<float>::infinity();
        std::fill_n(shown.begin(), first, kept_by_rule);
        std::fill_n(shown.end() - last, last, kept_by_rule);
        return shown;
    }

  private:
    struct Head {
        std::optional<HeadView> view;  ///< until what was decided on it is settled
        Position queries = 0;          ///< that went through so far
        bool first = true;             ///< nothing was decided before
        std::vector<Position> positions;
        /// The attention that went to what each entry took in, mean over query heads.
        std::vector<float> absorbed;
        /// Made when a head is compressed: all attention so far, what an entry took in included,
        /// and the Global-Local score.
        mutable std::vector<float> global, scores;
        mutable std::vector<Position> ranking;

        Position held() const { return static_cast<Position>(positions.size()); }
        EmsRanking ranked(ByRule rule) const { return {scores, ranking, rule}; }
    };

    using Layer = std::vector<Head>;

    static std::size_t index_in(const std::vector<Position>& positions, Position position) {
        return static_cast<std::size_t>(
            std::lower_bound(positions.begin(), positions.end(), position) - positions.begin());
    }
    const Head& at(HeadId id) const {
        return layers_[static_cast<std::size_t>(id.layer)][static_cast<std::size_t>(id.head)];
    }

    void settle(Head& head, const Decision& decision) const {
        const HeadId id = head.view->id;
        const std::vector<Position>& keep = decision[id];
        std::vector<float> absorbed(keep.size());
        for (std::size_t i = 0; i < keep.size(); ++i)
            absorbed[i] = head.absorbed[index_in(head.positions, keep[i])];
        if (method_.inherit)
            for (const Absorbed& pair : decision.merges(id).absorbed)
                absorbed[index_in(keep, pair.into)] +=
                    head.global[index_in(head.positions, pair.from)];
        head.absorbed = std::move(absorbed);
        head.view.reset();
    }

    /// Heads that share their budget hold different numbers, and are compressed together.
    bool compresses(const Layer& layer, const Limit& limit) const {
        std::int64_t above = 0;
        for (const Head& head : layer)
            above += head.held() - limit.tokens;
        return above >= std::ssize(layer) * (layer.front().first ? 1 : method_.interval);
    }

    /// How many entries each head of a layer keeps when it is compressed.
    std::vector<Position> tokens_of(const Layer& layer, const Limit& limit) const {
        if (!method_.ragged || !method_.fits(limit))
            return std::vector<Position>(layer.size(), limit.tokens);
        judge(layer);
        std::vector<EmsRanking> rankings;
        for (const Head& head : layer)
            rankings.push_back(head.ranked(method_.protects()));
        return shared_tokens(rankings, limit.tokens);
    }

    void judge(const Layer& layer) const {
        parallel_for(layer.size(), context_.threads, [&](std::size_t head) { judge(layer[head]); });
    }
    void judge(const Head& head) const {
        if (!head.scores.empty())
            return;
        auto [global, scores] = global_local(
            *head.view, context_.shape, head.absorbed, head.queries, method_.score_options());
        head.global = std::move(global);
        head.scores = std::move(scores);
        head.ranking = rank(head.scores);
    }

    void compress(const Head& head, Position tokens, Decision& decision) const {
        const HeadId id = head.view->id;
        std::vector<Position>& keep = decision[id];
        const ByRule rule = method_.protects();
        if (tokens < rule.first + rule.last) {
            keep.assign(head.positions.end() - tokens, head.positions.end());
            return;
        }
        judge(head);
        const EmsClasses classes =
            classify(head.ranked(rule), tokens, {.gamma = method_.gamma, .rho = method_.rho});
        for (const Position entry : classes.kept)
            keep.push_back(head.positions[static_cast<std::size_t>(entry)]);
        if (!method_.pre_rope) {
            decision.merges(id) = merge(*head.view, head.scores, classes);
            return;
        }
        const Matrix keys = unturned_keys(*head.view, context_.rotation);
        const HeadView before{
            .id = id, .positions = head.positions, .keys = view(keys), .values = head.view->values};
        decision.merges(id) = merge(before, head.scores, classes);
        turn_keys(decision.merges(id), context_.rotation);
    }

    Merges merge(const HeadView& head,
                 std::span<const float> scores,
                 const EmsClasses& classes) const {
        const std::vector<Position> into =
            most_alike(head,
                       classes.merging,
                       method_.into_protected ? classes.kept : classes.centers,
                       {.least = method_.tau, .literal = method_.literal_product});
        return merged(head, scores, classes.merging, into);
    }

    const Ems& method_;
    SessionContext context_;
    std::vector<Layer> layers_;
};

class EmsPolicy final : public Policy {
  public:
    explicit EmsPolicy(Ems method) : method_(method) {}
    Needs needs() const override { return method_.needs(); }
    Moments moments() const override { return {.decoding = true}; }
    Json parameters() const override { return echo_parameters(method_); }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<EmsSession>(method_, context);
    }

  private:
    Ems method_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    return std::make_unique<EmsPolicy>(read_parameters<Ems>(arguments));
}

}  // namespace

PolicyInfo ems() {
    return {.name = "ems",
            .summary = "evicts, then merges",
            .source = "Li et al., arXiv:2412.08521",
            .caveat = "reconstructed from the abstract, the score formula and reviews",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<Ems>,
            .make = make};
}

}  // namespace kvtape::policies
