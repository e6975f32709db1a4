#include "core/parallel.hpp"
#include "core/reduce.hpp"
#include "core/topk.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/finite.hpp"
#include "policies/parts/likeness.hpp"
#include "policies/parts/merging.hpp"
#include "policies/parts/parameters.hpp"
#include "policies/parts/pooling.hpp"
#include "policies/policy.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

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
/// that a protected entry takes in nothing, the mean over the query heads of a group, `interval`,
/// and that while decoding the last queries vote over what is held at that time.
struct Ems {
    enum class Smoothing { none, avg, max };

    std::int32_t window = 32;
    std::int32_t sinks = 0;
    double gamma = 4.0;
    double rho = 0.98;
    double tau = 0.5;
    bool literal_product = false;
    Smoothing pool = Smoothing::none;
    std::int32_t kernel = 7;
    std::int32_t interval = 32;

    void fields(auto& field) {
        field("window", window, Whole{1, 65536}, "last entries: their queries vote, and they stay");
        field("sinks", sinks, Whole{0, 65536}, "first entries, always kept");
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
        return {
            .keys = true, .values = true, .window = window, .column_sums = true, .merges = true};
    }
};

class EmsSession final : public Session {
  public:
    EmsSession(const Ems& method, const SessionContext& context)
        : method_(method),
          context_(context),
          heads_(static_cast<std::size_t>(context.shape.layers) *
                 static_cast<std::size_t>(context.shape.kv_heads)) {}

    void observe(const LayerView& layer) override {
        for (const HeadView& view : layer.heads) {
            Head& head = at(view.id);
            head.view.emplace(view);
            head.queries = layer.block.end;
            head.first = layer.block.begin == 0;
            head.positions.assign(view.positions.begin(), view.positions.end());
            head.absorbed.resize(head.positions.size());
            head.scores.clear();
        }
    }

    Decision decide(const Block&, const Limit& limit) const override {
        Decision decision(context_.shape.layers, context_.shape.kv_heads, Merging::yes);
        parallel_for(heads_.size(), context_.threads, [&](std::size_t i) {
            if (heads_[i].view)
                compress(heads_[i], limit, decision);
        });
        return decision;
    }

    void settle(const Decision& decision) override {
        for (Head& head : heads_) {
            if (!head.view)
                continue;
            const HeadId id = head.view->id;
            const std::vector<Position>& keep = decision[id];
            std::vector<float> absorbed(keep.size());
            for (std::size_t i = 0; i < keep.size(); ++i)
                absorbed[i] = head.absorbed[index_in(head.positions, keep[i])];
            for (const Absorbed& pair : decision.merges(id).absorbed)
                absorbed[index_in(keep, pair.into)] +=
                    head.global[index_in(head.positions, pair.from)];
            head.absorbed = std::move(absorbed);
            head.view.reset();
        }
    }

    std::vector<float> scores(HeadId id, const Limit& limit) const override {
        const Head& head = at(id);
        if (!head.view || !(head.first || compresses(head, limit)))
            return {};
        judge(head);
        std::vector<float> shown = head.scores;
        const Position held = head.held();
        const bool fits = method_.sinks + method_.window <= limit.tokens;
        const Position first = fits ? std::min(method_.sinks, held) : 0;
        const Position last = std::min({method_.window, limit.tokens, held});
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
    };

    /// What one head has become of its entries, as indices.
    struct Classes {
        std::vector<Position> centers;  ///< ascending
        std::vector<Position> merging;  ///< ascending
    };

    static std::size_t index_in(const std::vector<Position>& positions, Position position) {
        return static_cast<std::size_t>(
            std::lower_bound(positions.begin(), positions.end(), position) - positions.begin());
    }
    Head& at(HeadId id) { return heads_[index(id)]; }
    const Head& at(HeadId id) const { return heads_[index(id)]; }
    std::size_t index(HeadId id) const {
        return static_cast<std::size_t>(id.layer) *
                   static_cast<std::size_t>(context_.shape.kv_heads) +
               static_cast<std::size_t>(id.head);
    }

    bool compresses(const Head& head, const Limit& limit) const {
        const std::int64_t above = std::int64_t{head.held()} - limit.tokens;
        return above >= (head.first ? 1 : method_.interval);
    }

    /// s[j] = max(global[j] / queries, local[j] / voters): rows of attention add up to one, so that
    /// this is the mean-aligned maximum up to one factor for all entries.
    void judge(const Head& head) const {
        if (!head.scores.empty())
            return;
        const HeadView& view = *head.view;
        const Matrix votes = observed_attention(view, context_.shape);
        Matrix sums = view.column_sums;
        Position queries = head.queries;
        const auto voters = static_cast<Position>(view.observed.positions.size());
        // Voters behind the context are not among the queries so far.
        if (!view.observed.logsumexp.empty()) {
            sums += votes;
            queries += voters;
        }
        const auto group = static_cast<float>(context_.shape.group());
        head.global = sum_of_rows(sums);
        for (std::size_t i = 0; i < head.global.size(); ++i)
            head.global[i] = head.global[i] / group + head.absorbed[i];
        std::vector<float> local = sum_of_rows(votes);
        check_scores(view, head.global);
        check_scores(view, local);
        if (method_.pool != Ems::Smoothing::none)
            local = pooled(
                local, method_.pool == Ems::Smoothing::avg ? Pool::avg : Pool::max, method_.kernel);
        head.scores.resize(local.size());
        for (std::size_t i = 0; i < local.size(); ++i)
            head.scores[i] = std::max(head.global[i] / static_cast<float>(queries),
                                      local[i] / (group * static_cast<float>(voters)));
        head.ranking = rank(head.scores);
    }

    void compress(const Head& head, const Limit& limit, Decision& decision) const {
        const HeadId id = head.view->id;
        if (!compresses(head, limit)) {
            decision[id] = head.positions;
            return;
        }
        if (limit.tokens < method_.sinks + method_.window) {
            decision[id].assign(head.positions.end() - limit.tokens, head.positions.end());
            return;
        }
        judge(head);
        const Classes classes = classify(head, limit.tokens);
        std::vector<Position>& keep = decision[id];
        keep.assign(head.positions.begin(), head.positions.begin() + method_.sinks);
        for (const Position center : classes.centers)
            keep.push_back(head.positions[static_cast<std::size_t>(center)]);
        keep.insert(keep.end(), head.positions.end() - method_.window, head.positions.end());
        std::vector<Position> into =
            most_alike(*head.view,
                       classes.merging,
                       classes.centers,
                       {.least = method_.tau, .literal = method_.literal_product});
        for (Position& center : into)
            if (center >= 0)
                center = classes.centers[static_cast<std::size_t>(center)];
        decision.merges(id) = merged(*head.view, head.scores, classes.merging, into);
    }

    Classes classify(const Head& head, Position tokens) const {
        const Position held = head.held();
        std::vector<Position> order;
        for (const Position entry : head.ranking)
            if (entry >= method_.sinks && entry < held - method_.window)
                order.push_back(entry);
        const auto kept = order.begin() + (tokens - method_.sinks - method_.window);
        const auto end = kept + merging(head, {kept, order.end()}, tokens);
        Classes classes{{order.begin(), kept}, {kept, end}};
        std::sort(classes.centers.begin(), classes.centers.end());
        std::sort(classes.merging.begin(), classes.merging.end());
        return classes;
    }

    /// How many of the entries that give way, best first, are worth merging: until they and the
    /// kept ones hold the share rho of the head's score, and at most gamma times as many as stay.
    std::ptrdiff_t merging(const Head& head,
                           std::span<const Position> given_way,
                           Position tokens) const {
        const auto score = [&](Position entry) {
            return static_cast<double>(head.scores[static_cast<std::size_t>(entry)]);
        };
        std::vector<double> left;
        for (const Position entry : given_way)
            left.push_back(score(entry));
        const double total = ordered_sum(std::span<const float>(head.scores));
        double covered = total - ordered_sum(std::span<const double>(left));
        std::ptrdiff_t needed = 0;
        while (needed < std::ssize(left) && covered < method_.rho * total)
            covered += left[static_cast<std::size_t>(needed++)];
        const double most = std::floor(method_.gamma * tokens);
        return static_cast<double>(needed) <= most ? needed : static_cast<std::ptrdiff_t>(most);
    }

    const Ems& method_;
    SessionContext context_;
    std::vector<Head> heads_;
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
            .summary =
                "evicts, then merges; reconstructed from the abstract, the score formula "
                "and reviews",
            .source =
                "Li et al., arXiv:2412.08521; reconstructed from the abstract, the score "
                "formula and reviews",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<Ems>,
            .make = make};
}

}  // namespace kvtape::policies
