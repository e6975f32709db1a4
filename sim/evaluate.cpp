#include "sim/evaluate.hpp"

#include "core/parallel.hpp"
#include "sim/head_damage.hpp"
#include "sim/head_facts.hpp"
#include "sim/held_state.hpp"
#include "sim/metrics/needle.hpp"

#include <algorithm>
#include <numeric>

namespace kvtape {
namespace {

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
        const DamagedHead head{.trace = info_,
                               .sequence = sequence_,
                               .layer = layer_,
                               .data = data_,
                               .kv_head = kv_head,
                               .facts = facts};
        std::vector<const HeldState*> all;
        for (const HeldState& state : states)
            all.push_back(&state);
        std::vector<RowRange> parts;
        if (facts.probes.count > 0)
            parts.push_back({0, facts.probes.count});
        const std::vector<Damage> damage = measure_states(head, all, parts, {});
        for (std::size_t result = 0; result < states.size(); ++result) {
            HeadResult& row = results[result][static_cast<std::size_t>(kv_head)];
            row = accounted(kv_head, states[result].kept);
            row.needle_tokens = std::ssize(facts.needle);
            row.needle_kept = needle_kept(facts.needle, states[result].kept);
            row.needle_weight = facts.needle_weight;
            if (!facts.needle.empty())
                row.needle_read =
                    needle_read(facts.needle_attention, facts.needle, states[result].kept);
            if (damage.empty())
                continue;
            row.mass_kept = damage[0].mass_kept[result];
            row.output_error_median = damage[0].output_error_median[result];
            row.output_error_p95 = damage[0].output_error_p95[result];
        }
    }

  private:
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
