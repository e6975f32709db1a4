#include "sim/head_damage.hpp"

#include "sim/metrics/merged_damage.hpp"

#include <algorithm>
#include <numeric>

namespace kvtape {
namespace {

/// States ordered so that their kept sets grow, or several such orders where sets are not nested.
struct Ladder {
    std::vector<std::size_t> states;
    NestedSets sets;
};

bool contains(const Kept& larger, const Kept& smaller) {
    for (std::size_t t = 0; t < smaller.size(); ++t)
        if (smaller[t] != 0 && larger[t] == 0)
            return false;
    return true;
}

NestedSets nested(std::span<const HeldState* const> states, std::span<const std::size_t> chosen) {
    NestedSets sets{.budgets = static_cast<std::int32_t>(chosen.size()),
                    .survives_from = std::vector<std::int32_t>(
                        states[chosen[0]]->kept.size(), static_cast<std::int32_t>(chosen.size()))};
    for (std::size_t step = chosen.size(); step-- > 0;)
        for (std::size_t t = 0; t < sets.survives_from.size(); ++t)
            if (states[chosen[step]]->kept[t] != 0)
                sets.survives_from[t] = static_cast<std::int32_t>(step);
    return sets;
}

std::vector<Ladder> ladders(std::span<const HeldState* const> states) {
    std::vector<std::size_t> order(states.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::vector<int> sizes;
    for (const HeldState* state : states)
        sizes.push_back(std::accumulate(state->kept.begin(), state->kept.end(), 0));
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return sizes[a] < sizes[b];
    });
    std::vector<std::vector<std::size_t>> grouped;
    for (const std::size_t state : order) {
        const auto fits = std::find_if(grouped.begin(), grouped.end(), [&](const auto& group) {
            return contains(states[state]->kept, states[group.back()]->kept);
        });
        if (fits == grouped.end())
            grouped.push_back({state});
        else
            fits->push_back(state);
    }
    std::vector<Ladder> found;
    for (std::vector<std::size_t>& group : grouped)
        found.push_back({.states = group, .sets = nested(states, group)});
    return found;
}

/// The output errors of one state with merged keys and values, over a part of the probes.
MergedDamage merged_damage_of(const DamagedHead& head,
                              const HeldState& state,
                              RowRange part,
                              std::span<const OutputNorm> norms) {
    const Shape& shape = head.trace.shape;
    const std::int32_t first = head.facts.probes.first + part.first;
    const RowRange recorded{probe_rows(head.sequence).first + part.first, part.count};
    const auto count = static_cast<std::size_t>(part.count);
    std::vector<HeadProbes> probes;
    for (const MatrixView& weights : head.facts.rows({first, part.count})) {
        const auto query_head = static_cast<std::int32_t>(probes.size());
        probes.push_back({.weights = weights,
                          .largest = std::span(head.facts.attention[probes.size()].largest)
                                         .subspan(static_cast<std::size_t>(first), count),
                          .queries = scaled_queries(shape,
                                                    head.sequence,
                                                    head.data,
                                                    head.kv_head * shape.group() + query_head,
                                                    recorded)});
    }
    const Eigen::Index dim = shape.head_dim, tokens = head.sequence.length();
    return measure_merged(probes,
                          std::span(head.sequence.query_positions)
                              .subspan(static_cast<std::size_t>(recorded.first), count),
                          head.trace.sliding_window[static_cast<std::size_t>(head.layer)],
                          view(head.data.values.data() + head.kv_head * tokens * dim, tokens, dim),
                          state.kept,
                          state.merged,
                          norms);
}

void resize(Damage& damage, std::size_t states, bool projected) {
    for (std::vector<double>* figures :
         {&damage.mass_kept, &damage.output_error_median, &damage.output_error_p95})
        figures->resize(states);
    for (std::vector<double>* figures :
         {&damage.projected_error_median, &damage.projected_error_p95})
        figures->resize(projected ? states : 0);
}

}  // namespace

std::vector<Damage> measure_states(const DamagedHead& head,
                                   std::span<const HeldState* const> states,
                                   std::span<const RowRange> parts,
                                   std::span<const OutputNorm> norms) {
    std::vector<Damage> found(parts.size());
    for (Damage& damage : found)
        resize(damage, states.size(), !norms.empty());
    if (parts.empty())
        return found;
    const Eigen::Index dim = head.trace.shape.head_dim, tokens = head.sequence.length();
    const MatrixView values =
        view(head.data.values.data() + head.kv_head * tokens * dim, tokens, dim);
    const std::vector<MatrixView> probes = head.facts.rows(head.facts.probes);
    for (const Ladder& ladder : ladders(states)) {
        const std::vector<Damage> measured =
            measure_damage(probes, values, ladder.sets, parts, norms);
        for (std::size_t part = 0; part < parts.size(); ++part)
            for (std::size_t step = 0; step < ladder.states.size(); ++step) {
                const std::size_t state = ladder.states[step];
                const Damage& from = measured[part];
                Damage& to = found[part];
                to.mass_kept[state] = from.mass_kept[step];
                to.output_error_median[state] = from.output_error_median[step];
                to.output_error_p95[state] = from.output_error_p95[step];
                if (!norms.empty()) {
                    to.projected_error_median[state] = from.projected_error_median[step];
                    to.projected_error_p95[state] = from.projected_error_p95[step];
                }
                if (states[state]->merged.positions.empty())
                    continue;
                const MergedDamage merged =
                    merged_damage_of(head, *states[state], parts[part], norms);
                to.output_error_median[state] = merged.output_error_median;
                to.output_error_p95[state] = merged.output_error_p95;
                if (!norms.empty()) {
                    to.projected_error_median[state] = merged.projected_error_median;
                    to.projected_error_p95[state] = merged.projected_error_p95;
                }
            }
    }
    return found;
}

}  // namespace kvtape
