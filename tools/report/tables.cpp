#include "tools/report/tables.hpp"

#include "analyze/csv_table.hpp"
#include "policies/spec.hpp"
#include "sim/curve.hpp"
#include "tools/policy_files.hpp"
#include "tools/report/gaps.hpp"
#include "tools/report/optional_table.hpp"
#include "tools/visible_text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace kvtape::report {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t curve_points = 96;

/// Token counts that a thinned curve keeps: all at first, then evenly on a logarithmic axis.
bool is_shown(double tokens, double longest) {
    if (tokens <= 1.0 || tokens >= longest)
        return true;
    const double step = std::log(longest) / static_cast<double>(curve_points);
    return std::floor(std::log(tokens) / step) != std::floor(std::log(tokens - 1.0) / step);
}

/// Sums of one point of a curve; over all tasks it weighs each by its sequences.
struct Point {
    double weight = 0.0, kept = 0.0, weighted = 0.0, recall = 0.0, mass = 0.0;

    void add(const CsvTable& table, std::size_t row, double count) {
        weight += count;
        kept += count * table.number(row, "kept_ratio");
        weighted += count * table.number(row, "needle_recall_weighted");
        recall += count * table.number(row, "needle_recall");
        mass += count * table.number(row, "mass_kept");
    }
};

/// A curve by token count.
using Curve = std::map<double, Point>;

Json curve_json(const Curve& curve) {
    Json json{{"kept", Json::array()},
              {"weighted", Json::array()},
              {"recall", Json::array()},
              {"mass", Json::array()}};
    double whole = 0.0;
    for (const auto& [tokens, point] : curve)
        whole = std::max(whole, point.weight);
    for (const auto& [tokens, point] : curve) {
        // Beyond the end of the shorter tasks the mean would be one of other sequences.
        if (point.weight < whole)
            continue;
        json["kept"].push_back(std::round(point.kept / point.weight * 1e5) / 1e5);
        json["weighted"].push_back(rounded(point.weighted / point.weight));
        json["recall"].push_back(rounded(point.recall / point.weight));
        json["mass"].push_back(rounded(point.mass / point.weight));
    }
    return json;
}

std::vector<double> sequences_of_tasks(const Recall& recall) {
    std::vector<double> counts(recall.tasks.size(), 0.0);
    for (const std::size_t task : recall.task_of)
        counts[task] += 1.0;
    return counts;
}

/// The series by policy, schedule and query source: the columns of curve.csv that name them.
std::map<std::array<std::string, 3>, std::size_t> places_of_series(const Recall& recall) {
    std::map<std::array<std::string, 3>, std::size_t> places;
    for (const Cell& cell : recall.cells)
        places[{cell.policy, cell.schedule, cell.query_source}] = cell.series;
    return places;
}

/// What one curve is: a series, and a task.
using CurveName = std::pair<std::size_t, std::string>;

/// The tasks of the sequences of each series.
std::vector<std::set<std::string>> tasks_of_series(const Recall& recall) {
    std::vector<std::set<std::string>> tasks(recall.series.size());
    for (const Cell& cell : recall.cells)
        for (const SequenceFigures& one : cell.sequences)
            tasks[cell.series].insert(recall.tasks[recall.task_of[one.sequence]]);
    return tasks;
}

/// Whether `replay --curve` draws a curve of such a result.
bool can_have_curve(const Sources& sources, const Cell& cell) {
    try {
        std::optional<PolicyFiles> files;
        if (sources.trace != nullptr)
            files.emplace(*sources.trace);
        return Schedule::parse(cell.schedule).once() &&
               has_curve(make_policy(cell.policy, policies::all(), files ? &*files : nullptr));
    } catch (const Error&) {
        return false;
    }
}

/// The series whose curves reach, in each of their tasks, the budget that keeps everything. Of the
/// others that could have one, a note says so.
std::vector<bool> whole_curves(Sources& sources, const std::map<CurveName, double>& reached) {
    const Recall& recall = sources.recall;
    const std::vector<std::set<std::string>> tasks = tasks_of_series(recall);
    std::vector<bool> is_whole(recall.series.size());
    std::vector<std::string> lacking;
    for (std::size_t series = 0; series < is_whole.size(); ++series) {
        is_whole[series] = std::all_of(tasks[series].begin(), tasks[series].end(), [&](auto& task) {
            const auto end = reached.find({series, task});
            return end != reached.end() && end->second > 1.0 - 1e-9;
        });
        const auto cell = std::find_if(recall.cells.begin(),
                                       recall.cells.end(),
                                       [&](const Cell& one) { return one.series == series; });
        if (!is_whole[series] && can_have_curve(sources, *cell))
            lacking.push_back(recall.series[series]);
    }
    if (!lacking.empty())
        sources.notes.push_back(
            "curve.csv, which the last kvtape replay --curve wrote, holds no whole curve of " +
            listed(lacking, recall.series.size(), "lines"));
    return is_whole;
}

Json read_curves(const fs::path& path, Sources& sources) {
    const Recall& recall = sources.recall;
    const CsvTable table = CsvTable::read(path,
                                          {"policy",
                                           "schedule",
                                           "query_source",
                                           "task",
                                           "tokens",
                                           "kept_ratio",
                                           "needle_recall",
                                           "needle_recall_weighted",
                                           "mass_kept"});
    double longest = 1.0;
    for (std::size_t row = 0; row < table.rows(); ++row)
        longest = std::max(longest, table.number(row, "tokens"));
    const std::vector<double> counts = sequences_of_tasks(recall);
    const auto places = places_of_series(recall);
    std::map<CurveName, Curve> found;
    std::map<CurveName, double> reached;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const double tokens = table.number(row, "tokens");
        const auto series = places.find({table.text(row, "policy"),
                                         table.text(row, "schedule"),
                                         table.text(row, "query_source")});
        if (series == places.end())
            continue;
        reached[{series->second, table.text(row, "task")}] = table.number(row, "kept_ratio");
        const auto task =
            std::find(recall.tasks.begin(), recall.tasks.end(), table.text(row, "task"));
        if (task == recall.tasks.end() || !is_shown(tokens, longest))
            continue;
        found[{series->second, *task}][tokens].add(table, row, 1.0);
        found[{series->second, ""}][tokens].add(
            table, row, counts[static_cast<std::size_t>(task - recall.tasks.begin())]);
    }
    const std::vector<bool> is_whole = whole_curves(sources, reached);
    Json json(recall.series.size(), Json::object());
    for (const auto& [name, curve] : found)
        if (is_whole[name.first])
            json[name.first][visible_text(name.second)] = curve_json(curve);
    return json;
}

Json share_json(const Share& share) {
    const Interval interval = share.interval();
    return {rounded(interval.mean), rounded(interval.low), rounded(interval.high)};
}

}  // namespace

Json curves(Sources& sources) {
    return optional_table(sources, sources.directory / "curve.csv", [&](const fs::path& path) {
        return read_curves(path, sources);
    });
}

Json accuracy(const Sources& sources) {
    Json json = Json::array();
    for (const LiveAnswers& answers : sources.answers) {
        Json one{{"policy", answers.policy},
                 {"budget", answers.budget},
                 {"schedule", answers.schedule},
                 {"source", answers.query_source},
                 {"all", share_json(answers.all)},
                 {"judged", answers.all.judged},
                 {"tasks", Json::array()}};
        for (const std::string& task : sources.recall.tasks) {
            const auto of_task = answers.by_task.find(task);
            one["tasks"].push_back(of_task == answers.by_task.end() ? Json()
                                                                    : share_json(of_task->second));
        }
        json.push_back(std::move(one));
    }
    return json.empty() ? Json() : json;
}

}  // namespace kvtape::report
