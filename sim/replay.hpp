#pragma once

#include "core/budget.hpp"
#include "policies/spec.hpp"
#include "sim/fate.hpp"
#include "sim/layer_cache.hpp"
#include "sim/schedule.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// What to replay. Everything referred to must outlive the call.
struct ReplayRequest {
    const Trace* trace = nullptr;
    Schedule schedule;
    QuerySource source = QuerySource::agnostic;
    std::vector<std::int32_t> sequences;  ///< indices, ascending
    std::vector<std::int32_t> layers;     ///< ascending
    std::uint64_t seed = 0;
    int threads = 1;
    StoreScores scores = StoreScores::no;  ///< whether fates hold the scores behind decisions
};

/// A policy and the budgets it is asked for.
struct ReplayTask {
    const PolicyRun* policy = nullptr;
    std::vector<Budget> budgets;
};

/// The source a policy really decides with: `oracle` for policies that read the future and
/// `agnostic` for those that ask no queries, whatever was asked for.
QuerySource source_of(const PolicyRun& policy, QuerySource asked);

/// The schedules a policy is defined for, in words: `prefill, prompt, block:N, each also with
/// +decode`.
std::string supported_schedules(const Policy& policy);

/// What a policy asks of the layers under the schedule and query source of a request.
Demand demand_of(const PolicyRun& policy, const ReplayRequest& request);
/// The same of those of one sequence, by what is recorded of it.
Demand demand_of(const PolicyRun& policy, const ReplayRequest& request, std::int32_t sequence);

/// The stream of a policy over a sequence: FNV-1a over the spec, a zero byte and the sequence's
/// name.
std::uint64_t random_stream(std::string_view spec, std::string_view sequence);

/// Refuses, before any tensor is read, tasks that the trace cannot feed or budgets it cannot apply:
/// a usage error that names policy, sequence, what is missing and the `record` option that stores
/// it.
void check_feasible(const ReplayRequest& request, std::span<const ReplayTask> tasks);

/// What became of one sequence under one policy and budget.
struct Decided {
    std::size_t task = 0;
    std::size_t budget = 0;  ///< index into the task's budgets
    std::int32_t sequence = 0;
    const Fate& fate;
};

/// Replays sequence after sequence, reading each layer once for all tasks and holding one layer at
/// a time; a policy that looks across layers reads them again for every block. A policy that
/// decides once observes once and decides for every budget. Each decision is validated (ascending,
/// among what is held, within the budget rule of its policy). Fates are handed to `decided`, tasks
/// and budgets in order.
void replay(const ReplayRequest& request,
            std::span<const ReplayTask> tasks,
            const std::function<void(const Decided&)>& decided);

}  // namespace kvtape
