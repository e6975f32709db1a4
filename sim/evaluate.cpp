#include "sim/evaluate.hpp"

#include "core/parallel.hpp"
#include "sim/head_facts.hpp"
#include "sim/held_state.hpp"
#include "sim/metrics/damage.hpp"
#include "sim/metrics/merged_damage.hpp"
#include "sim/metrics/needle.hpp"

#include <algorithm>
#include <numeric>

namespace kvtape {
namespace {

/// Results ordered so that their kept sets grow, or several such orders where sets are not nested.
struct Ladder {
    std::vector<std::size_t> results;
    NestedSets sets;
};

bool contains(const Kept& larger, const Kept& smaller) {
    for (std::size_t t = 0; t < smaller.size(); ++t)
        if (smaller[t] != 0 && larger[t] == 0)
            return false;
    return true;
}

NestedSets nested(const std::vector<HeldState>& states, std::span<const std::size_t> results) {
    NestedSets sets{.budgets = static_cast<std::int32_t>(results.size()),
                    .survives_from = std::vector<std::int32_t>(
                        states[results[0]].kept.size(), static_cast<std::int32_t>(results.size()))};
    for (std::size_t step = results.size(); step-- > 0;)
        for (std::size_t t = 0; t < sets.survives_from.size(); ++t)
            if (states[results[step]].kept[t] != 0)
                sets.survives_from[t] = static_cast<std::int32_t>(step);
    return sets;
}

std::vector<Ladder> ladders(const std::vector<HeldState>& states) {
    std::vector<std::size_t> order(states.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto size = [&](std::size_t i) {
        return std::accumulate(states[i].kept.begin(), states[i].kept.end(), 0);
    };
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return size(a) < size(b);
    });
    std::vector<std::vector<std::size_t>> grouped;
    for (const std::size_t result : order) {
        const auto fits = std::find_if(grouped.begin(), grouped.end(), [&](const auto& group) {
            return contains(states[result].kept, states[group.back()].kept);
        });
        if (fits == grouped.end())
            grouped.push_back({result});
        else
            fits->push_back(result);
    }
    std::vector<Ladder> found;
    for (std::vector<std::size_t>& group : grouped)
        found.push_back({.results = group, .sets = nested(states, group)});
    return found;
}

class LayerEvaluation {
  public:
    LayerEvaluation(const Trace& trace,
                    std::int32_t sequence,
                    std::int32_t layer,
                    const LayerData& data)
        : info_(trace.info()),
          sequence_(trace.sequence(sequence)),
          layer_(layer),
          data_(data) {}

    void evaluate(const HeadFacts& facts,
                  std::int32_t kv_head,
                  const std::vector<HeldState>& states,
                  std::vector<std::vector<HeadResult>>& results) const {
        for (const Ladder& ladder : ladders(states)) {
            const std::vector<std::int32_t> needles = needle_kept(facts.needle, ladder.sets);
            const std::vector<MatrixView> probes = facts.rows(facts.probes);
            const Damage damage = facts.probes.count > 0
                                      ? measure_damage(probes, values(kv_head), ladder.sets)
                                      : Damage{};
            for (std::size_t step = 0; step < ladder.results.size(); ++step) {
                const std::size_t result = ladder.results[step];
                HeadResult& row = results[result][static_cast<std::size_t>(kv_head)];
                row = accounted(kv_head, states[result].kept);
                row.needle_tokens = std::ssize(facts.needle);
                row.needle_kept = needles[step];
                row.needle_weight = facts.needle_weight;
                if (facts.probes.count == 0)
                    continue;
                row.mass_kept = damage.mass_kept[step];
                row.output_error_median = damage.output_error_median[step];
                row.output_error_p95 = damage.output_error_p95[step];
                if (!states[result].merged.positions.empty())
                    remeasure(facts, kv_head, states[result], row);
            }
        }
    }

  private:
    std::optional<Position> window() const {
        return info_.sliding_window[static_cast<std::size_t>(layer_)];
    }

    MatrixView values(std::int32_t kv_head) const {
        const Eigen::Index dim = info_.shape.head_dim, tokens = sequence_.length();
        return view(data_.values.data() + kv_head * tokens * dim, tokens, dim);
    }

    /// The output error with merged keys and values.
    void remeasure(const HeadFacts& facts,
                   std::int32_t kv_head,
                   const HeldState& state,
                   HeadResult& row) const {
        const RowRange recorded = probe_rows(sequence_);
        const std::int32_t group = info_.shape.group();
        const auto first = static_cast<std::size_t>(facts.probes.first);
        const auto count = static_cast<std::size_t>(facts.probes.count);
        std::vector<HeadProbes> probes;
        for (const MatrixView& weights : facts.rows(facts.probes)) {
            const auto head = static_cast<std::int32_t>(probes.size());
            probes.push_back(
                {.weights = weights,
                 .largest = std::span(facts.attention[probes.size()].largest).subspan(first, count),
                 .queries = scaled_queries(
                     info_.shape, sequence_, data_, kv_head * group + head, recorded)});
        }
        const MergedDamage damage =
            measure_merged(probes,
                           std::span(sequence_.query_positions)
                               .subspan(static_cast<std::size_t>(recorded.first), count),
                           window(),
                           values(kv_head),
                           state.kept,
                           state.merged);
        row.output_error_median = damage.output_error_median;
        row.output_error_p95 = damage.output_error_p95;
    }

    HeadResult accounted(std::int32_t kv_head, const Kept& kept) const {
        HeadResult row;
        row.layer = layer_;
        row.kv_head = kv_head;
        row.tokens = std::ssize(kept);
        row.kept = std::accumulate(kept.begin(), kept.end(), std::int64_t{0});
        row.kept_bytes = row.kept * info_.shape.entry_bytes();
        return row;
    }

    const TraceInfo& info_;
    const SequenceInfo& sequence_;
    std::int32_t layer_;
    const LayerData& data_;
};

}  // namespace

std::optional<double> HeadResult::needle_recall() const {
    if (needle_tokens == 0)
        return std::nullopt;
    return static_cast<double>(needle_kept) / static_cast<double>(needle_tokens);
}

std::vector<std::vector<std::vector<HeadResult>>> evaluate_layer(const Trace& trace,
                                                                 std::int32_t sequence,
                                                                 std::int32_t layer,
                                                                 std::span<const Chain> chains,
                                                                 LayerData& data,
                                                                 int threads) {
    const Shape& shape = trace.info().shape;
    const SequenceInfo& info = trace.sequence(sequence);
    const auto heads = static_cast<std::size_t>(shape.kv_heads);
    const auto tokens = static_cast<std::size_t>(info.length());
    trace.load(sequence, layer, {.keys = true, .values = true, .queries = true}, data);
    const LayerEvaluation evaluation(trace, sequence, layer, data);
    std::vector<std::vector<std::vector<HeadResult>>> results(chains.size());
    // [chain][head][result]
    std::vector<std::vector<std::vector<HeldState>>> states(chains.size());
    for (std::size_t c = 0; c < chains.size(); ++c) {
        results[c].assign(chains[c].results, std::vector<HeadResult>(heads));
        states[c].resize(heads);
        const Schedule& schedule = chains[c].schedule;
        const std::int32_t moment = schedule.last_prompt_decision(info);
        const auto end =
            static_cast<std::size_t>(schedule.blocks(info)[static_cast<std::size_t>(moment)].end);
        for (std::size_t i = 0; i < chains[c].results; ++i) {
            const LayerFate fate = chains[c].fate(i, sequence, layer);
            for (std::size_t head = 0; head < heads; ++head)
                states[c][head].push_back(held_state(
                    fate, static_cast<std::int32_t>(head), tokens, moment, end, shape.head_dim));
        }
    }
    // A head's attention over its probes is large: it goes before the thread takes another head.
    parallel_for(heads, threads, [&](std::size_t head) {
        const auto kv_head = static_cast<std::int32_t>(head);
        const HeadFacts facts = facts_of(trace.info(), info, layer, data, kv_head);
        for (std::size_t c = 0; c < chains.size(); ++c)
            evaluation.evaluate(facts, kv_head, states[c][head], results[c]);
    });
    return results;
}

}  // namespace kvtape
