#pragma once

#include "core/error.hpp"
#include "policies/spec.hpp"
#include "sim/replay.hpp"
#include "tests/support/catch.hpp"

#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

namespace kvtape::tests {

/// 0 .. count - 1.
inline std::vector<std::int32_t> first_numbers(std::int32_t count) {
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
}

/// Everything in the trace, at the default schedule, source and seed.
inline ReplayRequest request_for(const Trace& trace) {
    ReplayRequest request;
    request.trace = &trace;
    request.sequences = first_numbers(trace.sequences());
    request.layers = first_numbers(trace.info().shape.layers);
    return request;
}

inline std::vector<PolicyRun> make_policies(const std::vector<std::string>& specs) {
    std::vector<PolicyRun> policies;
    for (const std::string& spec : specs)
        policies.push_back(make_policy(spec));
    return policies;
}

/// What is left of the context.
inline Decision kept_of(const ReplayRequest& request, const Decided& decided) {
    const Shape& shape = request.trace->info().shape;
    const SequenceInfo& sequence = request.trace->sequence(decided.sequence);
    Decision decision(shape.layers, shape.kv_heads);
    for (std::size_t layer = 0; layer < request.layers.size(); ++layer)
        for (std::int32_t head = 0; head < shape.kv_heads; ++head)
            for (Position token = 0; token < sequence.context_len; ++token) {
                const std::size_t at = static_cast<std::size_t>(head) * sequence.tokens.size() +
                                       static_cast<std::size_t>(token);
                if (decided.fate[layer].evicted_at[at] == -1)
                    decision[{request.layers[layer], head}].push_back(token);
            }
    return decision;
}

/// Every decision by spec, budget and sequence.
using Decisions = std::map<std::tuple<std::string, std::string, std::int32_t>, Decision>;

inline Decisions decide(const ReplayRequest& request,
                        const std::vector<PolicyRun>& policies,
                        const std::string& budgets) {
    std::vector<ReplayTask> tasks;
    for (const PolicyRun& policy : policies)
        tasks.push_back({.policy = &policy, .budgets = parse_budgets(budgets)});
    Decisions decisions;
    replay(request, tasks, [&](const Decided& decided) {
        const ReplayTask& task = tasks[decided.task];
        decisions[{task.policy->spec, task.budgets[decided.budget].text(), decided.sequence}] =
            kept_of(request, decided);
    });
    return decisions;
}

/// The one-line error of `action`, which must have the given kind.
template <typename Action>
std::string refusal(ErrorKind kind, const Action& action) {
    try {
        action();
    } catch (const Error& error) {
        CHECK(error.kind() == kind);
        return error.what();
    }
    FAIL("nothing was refused");
    return "";
}

inline bool mentions(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// Fates of every sequence, in order, under one policy and budget.
inline std::vector<std::vector<LayerFate>> fates(const Trace& trace,
                                                 const std::string& spec,
                                                 const std::string& budget,
                                                 const std::string& schedule) {
    const std::vector<PolicyRun> policies = make_policies({spec});
    const ReplayTask task{.policy = &policies[0], .budgets = parse_budgets(budget)};
    ReplayRequest request = request_for(trace);
    request.schedule = Schedule::parse(schedule);
    std::vector<std::vector<LayerFate>> found;
    replay(request, std::span(&task, 1), [&](const Decided& decided) {
        found.emplace_back();
        for (std::size_t layer = 0; layer < request.layers.size(); ++layer)
            found.back().push_back(decided.fate[layer]);
    });
    return found;
}

}  // namespace kvtape::tests
