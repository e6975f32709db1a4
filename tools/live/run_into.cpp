#include "tools/live/run_into.hpp"

#include "core/error.hpp"
#include "sim/csv.hpp"
#include "sim/result_writer.hpp"
#include "tools/live/teacher.hpp"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

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

Plan make_plan(const ResultDirectory& directory,
               const LiveRequest& request,
               std::span<const ReplayTask> tasks,
               const Origin& origin) {
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
            if (directory.holds(planned, request.replay))
                continue;
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

std::string content(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// `fresh` with those records of the table that is there which it does not replace: records agree
/// in policy, budget, schedule and sequence (columns 0, 2, 3 and 4).
std::string merged_table(const ResultDirectory& directory,
                         const std::string& name,
                         const std::string& fresh) {
    const std::filesystem::path path = directory.path() / name;
    if (!std::filesystem::exists(path))
        return fresh;
    const auto old = parse_csv(content(path), path.string());
    const auto now = parse_csv(fresh, name);
    if (old.empty() || old.front() != now.front())
        throw format_error("reading " + path.string() +
                           ": it has other columns than this kvtape writes; use another --out");
    const auto key = [](const std::vector<std::string>& record) {
        return std::vector<std::string>{record[0], record[2], record[3], record[4]};
    };
    Csv table(fresh.substr(0, fresh.find('\n')));
    const auto add = [&](const std::vector<std::string>& record) {
        for (const std::string& field : record)
            table.field(field);
        table.end_row();
    };
    for (std::size_t i = 1; i < old.size(); ++i)
        if (std::none_of(now.begin() + 1, now.end(), [&](const auto& record) {
                return key(record) == key(old[i]);
            }))
            add(old[i]);
    std::for_each(now.begin() + 1, now.end(), add);
    return table.text();
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
    }

    void over(std::int32_t sequence) {
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

    LiveReport report;
    Csv teacher{"policy,parameters,budget,schedule,sequence,jaccard,identical"};

  private:
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
    Plan plan = make_plan(directory, request, tasks, origin);
    Runs runs(request, plan, report);
    for (const std::int32_t sequence : request.replay.sequences)
        runs.over(sequence);
    std::vector<Result> there = directory.results();
    for (std::vector<Lane>& lanes : plan.lanes)
        for (Lane& lane : lanes) {
            there.push_back(lane.writer->finish());
            std::move(lane.rows.begin(), lane.rows.end(), std::back_inserter(runs.report.rows));
        }
    const auto write = [&](const std::string& name, const std::string& text) {
        directory.write(name, merged_table(directory, name, text));
    };
    write("answers.csv", answers_csv(runs.report.rows));
    write("cache.csv", cache_csv(runs.report.rows));
    if (request.teacher)
        write("teacher.csv", runs.teacher.text());
    directory.write_index(there);
    directory.reload();
    directory.write_index(directory.results());
    return std::move(runs.report);
}

}  // namespace kvtape::live
