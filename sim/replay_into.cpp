#include "core/error.hpp"
#include "sim/result_writer.hpp"
#include "sim/results.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace kvtape {
namespace {

/// What the files of one task still lack.
ReplayTask missing_part(const ResultDirectory& directory,
                        const ReplayRequest& request,
                        const ReplayTask& task) {
    ReplayTask missing{.policy = task.policy, .budgets = {}};
    for (const Budget& budget : task.budgets)
        if (!directory.holds(planned_result(request, *task.policy, budget), request))
            missing.budgets.push_back(budget);
    return missing;
}

/// Replays one policy at the budgets it lacks, one file for each; returns these results.
std::vector<Result> replay_task(const ResultDirectory& directory,
                                const ReplayRequest& request,
                                const ReplayTask& task,
                                const std::string& producer,
                                const std::function<void()>& decided_one) {
    std::vector<std::unique_ptr<ResultWriter>> writers;
    for (const Budget& budget : task.budgets)
        writers.push_back(std::make_unique<ResultWriter>(
            directory, request, *task.policy, budget, Origin{.producer = producer}));
    replay(request, std::span(&task, 1), [&](const Decided& decided) {
        writers[decided.budget]->add(decided.fate, request.trace->sequence(decided.sequence));
        decided_one();
    });
    std::vector<Result> results;
    for (const std::unique_ptr<ResultWriter>& writer : writers)
        results.push_back(writer->finish());
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
            plan.push_back(planned_result(request, *task.policy, budget));
    }
    expect_distinct(plan);
    std::vector<Result> there = directory.results();
    name_as_planned(there, plan);
    if (!there.empty())
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
