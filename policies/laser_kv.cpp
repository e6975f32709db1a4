#include "core/error.hpp"
#include "policies/parts/laser_budget.hpp"
#include "policies/parts/laser_scores.hpp"
#include "policies/parts/parameters.hpp"

#include <algorithm>
#include <iterator>

namespace kvtape::policies {
namespace {

enum class ShortBlock { fix, reference };

/// The context comes in blocks, and after each the question looks at it: what its queries attend
/// to, and what hashes like its tokens, is picked, once for all layers and heads. The first tokens
/// stay; the last of a block stay for one block and then compete with the next.
struct LaserKv {
    LaserMode mode = LaserMode::accumulate;
    LaserSelection selection;
    std::int32_t block = 4096;
    std::int32_t divisor = 4;
    bool smoothing = true;
    ShortBlock short_block = ShortBlock::fix;
    bool window_softmax = false;

    void fields(auto& field) {
        field("mode",
              mode,
              Choice{"accumulate", "recursive"},
              "picks add up block by block, or compete again after each");
        field("selector",
              selection.selector,
              Choice{"hybrid", "exact", "lsh"},
              "the question's attention, hashes, or both");
        field("block", block, Whole{1, 1 << 24}, "tokens that come at a time");
        field("divisor",
              divisor,
              Whole{2, 1024},
              "one share of the block budget to the first tokens, one to a block's last");
        field("alpha", selection.alpha, Share{}, "share of attention in the picks of hybrid");
        field("bits", selection.lsh.bits, Whole{1, 30}, "random projections of a hash table");
        field("tables", selection.lsh.tables, Whole{1, 1024}, "hash tables");
        field("lsh",
              selection.lsh.rank,
              Choice{"magicpig_baseline", "frequency_rank", "mean_collision"},
              "how hashes rank");
        field("tie",
              selection.lsh.tie,
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

/// Lives through the blocks: what the question scored is divided, picked and handed back.
class LaserSession final : public Session {
  public:
    LaserSession(const LaserKv& method, const SessionContext& context)
        : method_(method),
          context_(context),
          scores_(method.selection, context) {}

    void observe(const LayerView& layer) override {
        if (!(layer.block == block_))
            enter(layer);
        scores_.observe(layer, rows());
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
    using Entries = LaserScores::Entries;

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
        scores_.reset(held.size());
    }

    /// With window_softmax rows cover everything but what was picked for good.
    LaserRows rows() const {
        if (!method_.window_softmax)
            return {};
        LaserRows rows{.first = 0, .question = false};
        if (method_.mode == LaserMode::accumulate)
            rows.first = static_cast<Position>(std::lower_bound(positions_.begin(),
                                                                positions_.end(),
                                                                window_begin(previous_, decided_)) -
                                               positions_.begin());
        return rows;
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
            picked = scores_.pick(division.candidates,
                                  static_cast<Position>(std::min<std::int64_t>(
                                      budget.picks, std::ssize(division.candidates))));
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

    const LaserKv& method_;
    SessionContext context_;
    LaserScores scores_;
    Block block_, previous_;  ///< the one that is observed, and the one before
    /// Of the last decision: a session that lives through several blocks has one budget, and its
    /// window is part of what the next block attends to.
    mutable LaserBudget decided_;
    std::vector<Position> positions_;  ///< held, alike in all heads
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
