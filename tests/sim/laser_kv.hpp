#pragma once

#include "policies/parts/laser_budget.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <span>
#include <string>
#include <vector>

/// What the tests of laser_kv share.
namespace kvtape::tests {

/// kept[layer][kv_head] of one sequence.
using Kept = std::vector<std::vector<std::vector<Position>>>;

inline Kept kept_of(const ReplayRequest& request, const Decided& decided) {
    const SequenceInfo& sequence = request.trace->sequence(decided.sequence);
    Kept kept;
    for (std::size_t layer = 0; layer < request.layers.size(); ++layer) {
        kept.emplace_back();
        for (std::int32_t head = 0; head < request.trace->info().shape.kv_heads; ++head) {
            kept.back().emplace_back();
            for (Position token = 0; token < sequence.context_len; ++token)
                if (decided.fate[layer]
                        .evicted_at[static_cast<std::size_t>(head * sequence.length() + token)] ==
                    -1)
                    kept.back().back().push_back(token);
        }
    }
    return kept;
}

/// What `spec` keeps at each of `budgets`, of the one sequence of the request.
inline std::vector<Kept> replayed(const ReplayRequest& request,
                                  const std::string& spec,
                                  const std::string& budgets) {
    const PolicyRun policy = make_policy(spec);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets(budgets)};
    std::vector<Kept> kept;
    replay(request, std::span(&task, 1), [&](const Decided& decided) {
        kept.push_back(kept_of(request, decided));
    });
    return kept;
}

inline ReplayRequest first_sequence(const Trace& trace) {
    ReplayRequest request = request_for(trace);
    request.sequences = {0};
    return request;
}

inline SyntheticSize one_sequence() {
    return {.sequences = 1};
}

/// The set that all heads of all layers share.
inline std::vector<Position> common(const Kept& kept) {
    for (const auto& layer : kept)
        for (const auto& head : layer)
            CHECK(head == kept[0][0]);
    return kept[0][0];
}

}  // namespace kvtape::tests
