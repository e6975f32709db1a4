#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/finite.hpp"
#include "policies/parts/laser_budget.hpp"
#include "policies/parts/lsh.hpp"
#include "policies/parts/parameters.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

namespace kvtape::policies {
namespace {

enum class Selector { hybrid, exact, lsh };
enum class ShortBlock { fix, reference };

/// The context comes in blocks, and after each the question looks at it: what its queries attend
/// to, and what hashes like its tokens, is picked, once for all layers and heads. The first tokens
/// stay; the last of a block stay for one block and then compete with the next.
struct LaserKv {
    LaserMode mode = LaserMode::accumulate;
    Selector selector = Selector::hybrid;
    std::int32_t block = 4096;
    std::int32_t divisor = 4;
    Ratio alpha{3, 4};
    LshSettings lsh;
    bool smoothing = true;
    ShortBlock short_block = ShortBlock::fix;
    bool window_softmax = false;

    void fields(auto& field) {
        field("mode",
              mode,
              Choice{"accumulate", "recursive"},
              "picks add up block by block, or compete again after each");
        field("selector",
              selector,
              Choice{"hybrid", "exact", "lsh"},
              "the question's attention, hashes, or both");
        field("block", block, Whole{1, 1 << 24}, "tokens that come at a time");
        field("divisor",
              divisor,
              Whole{2, 1024},
              "one share of the block budget to the first tokens, one to a block's last");
        field("alpha", alpha, Share{}, "share of attention in the picks of hybrid");
        field("bits", lsh.bits, Whole{1, 30}, "random projections of a hash table");
        field("tables", lsh.tables, Whole{1, 1024}, "hash tables");
        field("lsh",
              lsh.rank,
              Choice{"magicpig_baseline", "frequency_rank", "mean_collision"},
              "how hashes rank");
        field("tie",
              lsh.tie,
              Choice{"l2", "max_sim", "mahalanobis", "partitioned_centroid", "none"},
              "distance that breaks ties of frequency_rank");
        field("smoothing",
              smoothing,
              Switch{},
              "accumulate: a block's last tokens compete with the next block; 0 drops them");
        field("short_block",
              short_block,
              Choice{"fix", "reference"},
              "a last block no longer than its window: pick from what competes, or drop that");
        field("window_softmax",
              window_softmax,
              Switch{},
              "probabilities over what competes and its block alone, without the question");
    }

    LaserBudget budget(const Limit& limit, Position context_len) const {
        return laser_budget(mode, limit, context_len, block, divisor);
    }
};

/// Sums of attention, and hash vectors, of everything held at the end of a block.
class LaserSession final : public Session {
  public:
    LaserSession(const LaserKv& method, const SessionContext& context)
        : method_(method),
          context_(context),
          projection_(gaussian_matrix(context.shape.head_dim,
                                      method.lsh.bits * method.lsh.tables,
                                      context.random.with_stream(0))) {}

    void observe(const LayerView& layer) override {
        if (!(layer.block == block_))
            enter(layer);
        if (method_.selector != Selector::lsh)
            add_attention(layer);
        // Of the layers, the last to come stays.
        if (method_.selector != Selector::exact)
            take_vectors(layer);
    }

    Decision decide(const Block&, const Limit& limit) const override {
        decided_ = method_.budget(limit, context_.context_len);
        const std::vector<Position> keep = kept(decided_);
        Decision decision(context_.shape.layers, context_.shape.kv_heads);
        for (std::int32_t layer = 0; layer < context_.shape.layers; ++layer)
            for (std::int32_t head = 0; head < context_.shape.kv_heads; ++head)
                decision[{layer, head}] = keep;
        return decision;
    }

  private:
    using Entries = std::vector<Position>;  ///< indices into what is held, ascending

    /// Where the anchors of a block end.
    static Position anchors_end(const Block& block, const LaserBudget& budget) {
        return static_cast<Position>(
            std::clamp<std::int64_t>(budget.anchors, block.begin, block.end));
    }
    /// Where its window begins: its last tokens that are no anchors.
    static Position window_begin(const Block& block, const LaserBudget& budget) {
        return static_cast<Position>(
            std::max<std::int64_t>(anchors_end(block, budget), block.end - budget.window));
    }

    void enter(const LayerView& layer) {
        previous_ = block_;
        block_ = layer.block;
        const std::span<const Position> held = layer.heads.front().positions;
        positions_.assign(held.begin(), held.end());
        attention_.assign(held.size(), 0.0);
    }

    /// The part of what is held over which rows of attention are normalised: with window_softmax
    /// everything but what was picked for good.
    HeadView attended(const HeadView& head) const {
        if (!method_.window_softmax)
            return head;
        Eigen::Index first = 0;
        if (method_.mode == LaserMode::accumulate)
            first = std::lower_bound(head.positions.begin(),
                                     head.positions.end(),
                                     window_begin(previous_, decided_)) -
                    head.positions.begin();
        const Eigen::Index count = head.keys.rows() - first;
        const Eigen::Index stride = head.keys.outerStride();
        return {
            .id = head.id,
            .positions = head.positions.subspan(static_cast<std::size_t>(first)),
            .keys = {head.keys.data() + first * stride,
                     count,
                     head.keys.cols(),
                     Eigen::OuterStride<>(stride)},
            .observed = {.positions = head.observed.positions, .queries = head.observed.queries}};
    }

    void add_attention(const LayerView& layer) {
        std::vector<Matrix> sums(layer.heads.size());
        parallel_for(sums.size(), context_.threads, [&](std::size_t i) {
            sums[i] = observed_attention(attended(layer.heads[i]), context_.shape);
            check_scores(layer.heads[i],
                         {sums[i].data(), static_cast<std::size_t>(sums[i].size())});
        });
        for (std::size_t i = 0; i < sums.size(); ++i) {
            const HeadView part = attended(layer.heads[i]);
            double* first = attention_.data() + (attention_.size() - part.positions.size());
            for (Eigen::Index row = 0; row < sums[i].rows(); ++row)
                for (Eigen::Index j = 0; j < std::ssize(part.positions); ++j)
                    first[j] += static_cast<double>(sums[i](row, j));
        }
    }

    /// The mean of the keys over the KV heads, of what is held and of the question.
    void take_vectors(const LayerView& layer) {
        const auto mean = [&](const auto& keys_of) {
            Matrix sum = keys_of(layer.heads.front());
            for (const HeadView& head : layer.heads.subspan(1))
                sum += keys_of(head);
            sum /= static_cast<float>(layer.heads.size());
            return sum;
        };
        vectors_ = mean([](const HeadView& head) { return head.keys; });
        question_ = mean([](const HeadView& head) { return head.observed.keys; });
        if (vectors_.allFinite() && question_.allFinite())
            return;
        for (const HeadView& head : layer.heads)
            if (!head.keys.allFinite() || !head.observed.keys.allFinite())
                refuse_not_finite(head);
        refuse_not_finite(layer.heads.front());
    }

    /// What competes for the picks after the block, and what stays anyway.
    struct Division {
        Entries stays;
        Entries candidates;
        bool of_block = false;  ///< whether any candidate is of the block
    };

    Division divide(const LaserBudget& budget) const {
        const Position anchors = anchors_end(block_, budget);
        const Position window = window_begin(block_, budget);
        const Position tail = window_begin(previous_, budget);
        const bool keeps_window = method_.mode == LaserMode::recursive || method_.smoothing ||
                                  block_.end == context_.context_len;
        Division division;
        for (Position entry = 0; entry < std::ssize(positions_); ++entry) {
            const Position position = positions_[static_cast<std::size_t>(entry)];
            const bool of_block = position >= block_.begin;
            const bool competes = of_block ? position >= anchors && position < window
                                  : method_.mode == LaserMode::recursive ? entry >= budget.anchors
                                                                         : position >= tail;
            if (competes)
                division.candidates.push_back(entry);
            else if (!of_block || position < anchors || keeps_window)
                division.stays.push_back(entry);
            division.of_block = division.of_block || (competes && of_block);
        }
        return division;
    }

    std::vector<Position> kept(const LaserBudget& budget) const {
        const Division division = divide(budget);
        Entries picked;
        if (division.of_block || method_.short_block == ShortBlock::fix)
            picked = pick(division.candidates, static_cast<Position>(budget.picks));
        std::vector<Position> keep;
        std::merge(division.stays.begin(),
                   division.stays.end(),
                   picked.begin(),
                   picked.end(),
                   std::back_inserter(keep));
        for (Position& entry : keep)
            entry = positions_[static_cast<std::size_t>(entry)];
        return keep;
    }

    Entries pick(const Entries& candidates, Position count) const {
        count = std::min(count, static_cast<Position>(candidates.size()));
        switch (method_.selector) {
            case Selector::exact:
                return most_attended(candidates, count);
            case Selector::lsh:
                return most_alike(candidates, count);
            case Selector::hybrid:
                break;
        }
        const Entries attended =
            most_attended(candidates, static_cast<Position>(method_.alpha.floor_of(count)));
        Entries rest, picked;
        std::set_difference(candidates.begin(),
                            candidates.end(),
                            attended.begin(),
                            attended.end(),
                            std::back_inserter(rest));
        const Entries alike = most_alike(rest, count - static_cast<Position>(attended.size()));
        std::merge(attended.begin(),
                   attended.end(),
                   alike.begin(),
                   alike.end(),
                   std::back_inserter(picked));
        return picked;
    }

    static Entries chosen(const Entries& candidates, const std::vector<Position>& places) {
        Entries entries;
        for (const Position place : places)
            entries.push_back(candidates[static_cast<std::size_t>(place)]);
        return entries;
    }

    Entries most_attended(const Entries& candidates, Position count) const {
        std::vector<float> scores;
        for (const Position entry : candidates)
            scores.push_back(static_cast<float>(attention_[static_cast<std::size_t>(entry)]));
        return chosen(candidates, select_top(scores, count));
    }

    Entries most_alike(const Entries& candidates, Position count) const {
        Matrix rows(std::ssize(candidates), vectors_.cols());
        for (Eigen::Index i = 0; i < rows.rows(); ++i)
            rows.row(i) = vectors_.row(candidates[static_cast<std::size_t>(i)]);
        return chosen(
            candidates,
            lsh_select(view(rows), view(question_), view(projection_), method_.lsh, count));
    }

    const LaserKv& method_;
    SessionContext context_;
    Matrix projection_;       ///< [head_dim, tables * bits]
    Block block_, previous_;  ///< the one that is observed, and the one before
    /// Of the last decision: a session that lives through several blocks has one budget, and its
    /// window is part of what the next block attends to.
    mutable LaserBudget decided_;
    std::vector<Position> positions_;  ///< held, alike in all heads
    std::vector<double> attention_;    ///< of every entry, from the question
    Matrix vectors_, question_;        ///< [held, head_dim] and [question, head_dim]
};

class LaserPolicy final : public Policy {
  public:
    explicit LaserPolicy(LaserKv method) : method_(method) {}
    Needs needs() const override {
        return {.keys = true, .probes = true, .block = method_.block, .across_layers = true};
    }
    Json parameters() const override { return echo_parameters(method_); }
    void expect_enough(const Limit& limit, Position context_len) const override {
        const LaserBudget budget = method_.budget(limit, context_len);
        if (budget.picks > 0)
            return;
        throw usage_error("a budget of " + std::to_string(limit.tokens) + " of " +
                          std::to_string(context_len) + " tokens is " +
                          std::to_string(budget.block_budget) + " for a block of " +
                          std::to_string(method_.block) +
                          ", and with divisor=" + std::to_string(method_.divisor) +
                          " the first tokens and the window leave nothing of that to choose; use "
                          "a larger budget" +
                          (method_.divisor == 2 ? " or divisor" : ", or longer blocks"));
    }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<LaserSession>(method_, context);
    }

  private:
    LaserKv method_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    return std::make_unique<LaserPolicy>(read_parameters<LaserKv>(arguments));
}

}  // namespace

PolicyInfo laser_kv() {
    return {.name = "laser_kv",
            .summary = "picks block by block what the question attends to or hashes like",
            .source = "arXiv:2602.02199; code zer0-data/LASER-KV and DistInf",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<LaserKv>,
            .make = make};
}

}  // namespace kvtape::policies
