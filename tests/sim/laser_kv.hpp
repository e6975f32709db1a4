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

/// What `spec` keeps at each of `budgets`, of the one sequence of the request.
inline std::vector<Decision> replayed(const ReplayRequest& request,
                                      const std::string& spec,
                                      const std::string& budgets) {
    const PolicyRun policy = make_policy(spec);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets(budgets)};
    std::vector<Decision> kept;
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
inline std::vector<Position> common(const Decision& kept) {
    for (std::int32_t layer = 0; layer < kept.layers(); ++layer)
        for (std::int32_t head = 0; head < kept.kv_heads(); ++head)
            CHECK(kept[{layer, head}] == kept[{0, 0}]);
    return kept[{0, 0}];
}

}  // namespace kvtape::tests
