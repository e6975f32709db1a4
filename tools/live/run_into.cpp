#include "tools/live/run_into.hpp"

#include "core/error.hpp"
#include "sim/csv.hpp"
#include "sim/result_writer.hpp"
#include "tools/live/tables.hpp"
#include "tools/live/teacher.hpp"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>

namespace kvtape::live {
namespace {

/// One policy at one budget, over all sequences.
struct Lane {
    Result planned;
    std::unique_ptr<ResultWriter> writer;
    std::vector<AnswerRow> rows;
};

/// Policies with the budgets that the directory lacks, and a lane for each of these.
struct Plan {
    std::vector<ReplayTask> tasks;
    std::vector<std::vector<Lane>> lanes;  ///< [task][budget]
};

/// answers.csv does not name the query source, so a directory holds one for each policy.
void expect_one_source(const ResultDirectory& directory, const Result& planned) {
    for (const Result& there : directory.results())
        if (there.policy == planned.policy && there.query_source != planned.query_source)
            throw usage_error("running " + planned.policy + " live into " +
                              directory.path().string() +
                              ": it holds answers of the query source " + there.query_source +
                              ", not " + planned.query_source + "; use another --out");
}

/// Whether there is nothing for a teacher: one decision, over the whole prompt's cache.
bool decides_once(const LiveRequest& request, const ReplayTask& task) {
    return request.replay.schedule.once() && task.policy->policy->needs().block == 0;
}

Plan make_plan(const ResultDirectory& directory,
               const LiveTables& tables,
               const LiveRequest& request,
               std::span<const ReplayTask> tasks,
               const Origin& origin) {
    std::vector<std::string> sequences;
    for (const std::int32_t sequence : request.replay.sequences)
        sequences.push_back(request.replay.trace->sequence(sequence).name);
    std::vector<Result> results;
    for (const ReplayTask& task : tasks)
        for (const Budget& budget : task.budgets)
            results.push_back(planned_result(request.replay, *task.policy, budget));
    expect_distinct(results);
    Plan plan;
    for (const ReplayTask& task : tasks) {
        ReplayTask missing{.policy = task.policy, .budgets = {}};
        std::vector<Lane> lanes;
        for (const Budget& budget : task.budgets) {
            Result planned = planned_result(request.replay, *task.policy, budget);
            expect_one_source(directory, planned);
            if (directory.holds(planned, request.replay)) {
                tables.expect_rows(
                    planned, sequences, request.teacher && !decides_once(request, task));
                continue;
            }
            missing.budgets.push_back(budget);
            lanes.push_back({.planned = planned,
                             .writer = std::make_unique<ResultWriter>(
                                 directory, request.replay, *task.policy, budget, origin),
                             .rows = {}});
        }
        if (missing.budgets.empty())
            continue;
        plan.tasks.push_back(std::move(missing));
        plan.lanes.push_back(std::move(lanes));
    }
    return plan;
}

/// All lanes of a plan over one sequence after the other.
class Runs {
  public:
    Runs(const LiveRequest& request, Plan& plan, const StepReport& told)
        : request_(request),
          plan_(plan),
          told_(told) {
        for (const ReplayTask& task : plan.tasks)
            steps_ += std::ssize(task.budgets) * std::ssize(request.replay.sequences);
        told_(0, steps_);
    }

    void over(std::int32_t sequence) {
        try {
            answer(sequence);
        } catch (Error& error) {
            const SequenceInfo& recorded = request_.replay.trace->sequence(sequence);
            error.add("running sequence " + recorded.name + " (" + recorded.task + ") live");
            throw;
        }
    }

    LiveReport report;
    Csv teacher{teacher_header};

  private:
    void answer(std::int32_t sequence) {
        const Trace& source = *request_.replay.trace;
        Engine engine(request_.setting, source, sequence, plan_.tasks);
        for (std::size_t task = 0; task < plan_.tasks.size(); ++task) {
            const ReplayTask& one = plan_.tasks[task];
            if (request_.teacher && !engine.decides_once(*one.policy)) {
                for (std::size_t budget = 0; budget < one.budgets.size(); ++budget) {
                    const Engine::Taped taped = engine.run_taped(*one.policy, one.budgets[budget]);
                    note(plan_.lanes[task][budget], sequence, taped.answer);
                    note_teacher(plan_.lanes[task][budget].rows.back(),
                                 replay_taped(taped,
                                              source.info(),
                                              *one.policy,
                                              one.budgets[budget],
                                              request_.setting));
                }
                continue;
            }
            engine.run(one, [&](std::size_t budget, const Answer& answer) {
                note(plan_.lanes[task][budget], sequence, answer);
            });
        }
    }

    void note_teacher(const AnswerRow& row, const TeacherFed& fed) {
        teacher.field(row.policy)
            .field(row.parameters)
            .field(row.budget.text())
            .field(row.schedule)
            .field(row.sequence)
            .field(fed.jaccard)
            .field(std::int64_t{fed.identical ? 1 : 0})
            .end_row();
    }

    void note(Lane& lane, std::int32_t index, const Answer& answer) {
        const SequenceInfo& recorded = request_.replay.trace->sequence(index);
        SequenceInfo seen = recorded;
        seen.tokens.resize(static_cast<std::size_t>(recorded.prompt_len));
        seen.tokens.insert(seen.tokens.end(), answer.tokens.begin(), answer.tokens.end());
        lane.writer->add(answer.fate, seen);
        lane.rows.push_back(judge(lane.planned,
                                  recorded,
                                  answer,
                                  *request_.setting.tokenizer,
                                  request_.replay.trace->info().shape));
        report.generated += std::ssize(answer.tokens);
        report.decode_seconds += answer.decode_seconds;
        told_(++done_, steps_);
    }

    const LiveRequest& request_;
    Plan& plan_;
    const StepReport& told_;
    std::int64_t done_ = 0, steps_ = 0;
};

/// Writes what the lanes have. The tables come first: a decision file says that its rows are there.
void keep(
    ResultDirectory& directory, const LiveTables& tables, Plan& plan, Runs& runs, bool teacher) {
    std::vector<ResultWriter*> writers;
    for (std::vector<Lane>& lanes : plan.lanes)
        for (Lane& lane : lanes) {
            if (lane.rows.empty())
                continue;
            writers.push_back(lane.writer.get());
            std::move(lane.rows.begin(), lane.rows.end(), std::back_inserter(runs.report.rows));
        }
    if (writers.empty())
        return;
    tables.write(runs.report.rows, teacher ? runs.teacher.text() : std::string());
    std::vector<Result> there = directory.results();
    for (ResultWriter* writer : writers)
        there.push_back(writer->finish());
    directory.write_index(there);
    directory.reload();
    directory.write_index(directory.results());
}

}  // namespace

std::string as_json(const LiveReport& report, const std::string& out) {
    Json answers = Json::array();
    for (const AnswerRow& row : report.rows)
        answers.push_back({{"policy", row.policy},
                           {"budget", row.budget.text()},
                           {"sequence", row.sequence},
                           {"correct", row.correct},
                           {"generated_text", row.generated_text},
                           {"kl_mean", row.kl_mean ? Json(*row.kl_mean) : Json()},
                           {"peak_bytes", row.peak_bytes},
                           {"end_bytes", row.end_bytes}});
    return to_text(Json{{"out", out}, {"answers", answers}});
}

void expect_held_attention(std::span<const ReplayTask> tasks) {
    for (const ReplayTask& task : tasks)
        if (task.policy->policy->needs().dense_rows)
            throw usage_error("running " + task.policy->spec +
                              " live: it counts attention over tokens that it evicted, which a "
                              "running model no longer has; use kvtape replay");
}

LiveReport run_into(ResultDirectory& directory,
                    const LiveRequest& request,
                    std::span<const ReplayTask> tasks,
                    const StepReport& report) {
    check_feasible(request.replay, tasks);
    const Origin origin{.producer = request.producer,
                        .loop = "live-" + request.setting.model->backend().name()};
    const LiveTables tables(directory);
    Plan plan = make_plan(directory, tables, request, tasks, origin);
    Runs runs(request, plan, report);
    std::optional<Error> failure;
    try {
        for (const std::int32_t sequence : request.replay.sequences)
            runs.over(sequence);
    } catch (const Error& error) {
        failure = error;
    }
    keep(directory, tables, plan, runs, request.teacher);
    if (failure) {
        if (!runs.report.rows.empty())
            failure->add("running live into " + directory.path().string() +
                         ", where the sequences that were finished stay");
        throw *failure;
    }
    return std::move(runs.report);
}

}  // namespace kvtape::live
