#include "core/error.hpp"
#include "sim/result_name.hpp"
#include "sim/results.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace kvtape {
namespace {

Result planned(const ReplayRequest& request, const PolicyRun& policy, const Budget& budget) {
    const std::string source(name_of(source_of(policy, request.source)));
    return {.file = result_file_name(policy.spec, budget.text(), request.schedule.text(), source),
            .policy = policy.spec,
            .parameters = to_text(policy.policy->parameters()),
            .budget = budget,
            .schedule = request.schedule.text(),
            .query_source = source,
            .seed = request.seed,
            .fingerprint = "",
            .decisions = nullptr};
}

/// What the files of one task still lack.
ReplayTask missing_part(const ResultDirectory& directory,
                        const ReplayRequest& request,
                        const ReplayTask& task) {
    ReplayTask missing{.policy = task.policy, .budgets = {}};
    for (const Budget& budget : task.budgets)
        if (!directory.holds(planned(request, *task.policy, budget), request))
            missing.budgets.push_back(budget);
    return missing;
}

DecisionSequence accounts(const Fate& fate,
                          const ReplayRequest& request,
                          const SequenceInfo& sequence) {
    const Shape& shape = request.trace->info().shape;
    const std::vector<Block> blocks = request.schedule.blocks(sequence);
    const auto last = static_cast<std::size_t>(request.schedule.last_decision(sequence));
    const Position end = blocks[last].end;
    std::int64_t kept = 0;
    for (std::size_t layer = 0; layer < fate.layers().size(); ++layer)
        for (std::int32_t head = 0; head < shape.kv_heads; ++head)
            kept += fate.kept(layer, head, end);
    const std::int64_t all = std::ssize(fate.layers()) * std::int64_t{shape.kv_heads} * end;
    return {.name = sequence.name,
            .kept_tokens = kept,
            .kept_bytes = kept * shape.entry_bytes(),
            .full_bytes = all * shape.entry_bytes(),
            .blocks = blocks};
}

/// Replays one policy at the budgets it lacks, one file for each; returns these results.
std::vector<Result> replay_task(const ResultDirectory& directory,
                                const ReplayRequest& request,
                                const ReplayTask& task,
                                const std::string& producer,
                                const std::function<void()>& decided_one) {
    const TraceInfo& info = request.trace->info();
    std::vector<std::unique_ptr<DecisionWriter>> writers;
    std::vector<Result> results;
    for (const Budget& budget : task.budgets) {
        const Result& result = results.emplace_back(planned(request, *task.policy, budget));
        const DecisionInfo about{.producer = producer,
                                 .trace_fingerprint = info.fingerprint,
                                 .policy = std::string(task.policy->info->name),
                                 .parameters = result.parameters,
                                 .budget = budget.text(),
                                 .schedule = result.schedule,
                                 .query_source = result.query_source,
                                 .loop = "replay",
                                 .fingerprint = "",
                                 .seed = request.seed};
        writers.push_back(std::make_unique<DecisionWriter>(directory.path() / result.file, about));
    }
    replay(request, std::span(&task, 1), [&](const Decided& decided) {
        const SequenceInfo& sequence = request.trace->sequence(decided.sequence);
        DecisionWriter& writer = *writers[decided.budget];
        writer.begin_sequence(
            accounts(decided.fate, request, sequence), info.shape.kv_heads, sequence.length());
        for (std::size_t layer = 0; layer < request.layers.size(); ++layer)
            writer.write_layer(request.layers[layer], decided.fate[layer]);
        writer.end_sequence();
        decided_one();
    });
    for (std::size_t i = 0; i < writers.size(); ++i)
        results[i].fingerprint = writers[i]->finish();
    return results;
}

/// Results that an interrupted run finished without noting their spec get it from `plan`.
void name_as_planned(std::vector<Result>& results, const std::vector<Result>& plan) {
    for (Result& result : results)
        for (const Result& planned : plan)
            if (planned.file == result.file)
                result.policy = planned.policy;
}

}  // namespace

std::size_t replay_into(ResultDirectory& directory,
                        const ReplayRequest& request,
                        std::span<const ReplayTask> tasks,
                        const std::string& producer,
                        const StepReport& report) {
    check_feasible(request, tasks);
    std::vector<ReplayTask> missing;
    std::vector<Result> plan;
    std::int64_t steps = 0;
    std::size_t files = 0;
    for (const ReplayTask& task : tasks) {
        missing.push_back(missing_part(directory, request, task));
        files += missing.back().budgets.size();
        steps += std::ssize(missing.back().budgets) * std::ssize(request.sequences);
        for (const Budget& budget : task.budgets)
            plan.push_back(planned(request, *task.policy, budget));
    }
    std::vector<Result> there = directory.results();
    name_as_planned(there, plan);
    directory.write_index(there);
    std::int64_t done = 0;
    for (const ReplayTask& task : missing) {
        if (task.budgets.empty())
            continue;
        for (Result& result :
             replay_task(directory, request, task, producer, [&] { report(++done, steps); }))
            there.push_back(std::move(result));
        directory.write_index(there);
    }
    directory.reload();
    directory.write_index(directory.results());
    return files;
}

}  // namespace kvtape
