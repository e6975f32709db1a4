#include "sim/replay.hpp"

#include "sim/moments.hpp"
#include "sim/query_statistics.hpp"
#include "sim/rope.hpp"
#include "sim/sequence_replay.hpp"

namespace kvtape {

QuerySource source_of(const PolicyRun& policy, QuerySource asked) {
    const Needs needs = policy.policy->needs();
    if (needs.probes)
        return QuerySource::question;
    if (needs.future)
        return QuerySource::oracle;
    return needs.window > 0 || needs.column_sums ? asked : QuerySource::agnostic;
}

std::uint64_t random_stream(std::string_view spec, std::string_view sequence) {
    std::uint64_t hash = 0xcbf29ce484222325;
    const auto add = [&](std::string_view text) {
        for (const char c : text)
            hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    };
    add(spec);
    add(std::string_view("\0", 1));
    add(sequence);
    return hash;
}

Demand demand_of(const PolicyRun& policy, const ReplayRequest& request) {
    const Needs needs = policy.policy->needs();
    return {
        .needs = needs,
        .source = source_of(policy, request.source),
        .attends = needs.column_sums && (needs.block > 0 || request.schedule.text() != "prefill")};
}

Demand demand_of(const PolicyRun& policy, const ReplayRequest& request, std::int32_t sequence) {
    Demand demand = demand_of(policy, request);
    if (demand.needs.statistics &&
        !statistics_recorded(demand.needs, request.trace->stored(sequence)))
        demand.turned = rotation_of(request.trace->info());
    return demand;
}

void replay(const ReplayRequest& request,
            std::span<const ReplayTask> tasks,
            const std::function<void(const Decided&)>& decided) {
    check_feasible(request, tasks);
    for (const std::int32_t sequence : request.sequences)
        replay_sequence(request, tasks, sequence, decided);
}

}  // namespace kvtape
