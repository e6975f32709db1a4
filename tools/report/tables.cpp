#include "tools/report/tables.hpp"

#include "analyze/csv_table.hpp"
#include "tools/report/optional_table.hpp"
#include "tools/visible_text.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

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

/// The series a row of curve.csv belongs to, or none.
std::optional<std::size_t> series_of(const Recall& recall, const CsvTable& table, std::size_t row) {
    for (const Cell& cell : recall.cells)
        if (cell.policy == table.text(row, "policy") &&
            cell.schedule == table.text(row, "schedule") &&
            cell.query_source == table.text(row, "query_source"))
            return cell.series;
    return std::nullopt;
}

Json read_curves(const fs::path& path, const Recall& recall) {
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
    std::map<std::pair<std::size_t, std::string>, Curve> found;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const double tokens = table.number(row, "tokens");
        if (!is_shown(tokens, longest))
            continue;
        const auto series = series_of(recall, table, row);
        const auto task =
            std::find(recall.tasks.begin(), recall.tasks.end(), table.text(row, "task"));
        if (!series || task == recall.tasks.end())
            continue;
        found[{*series, *task}][tokens].add(table, row, 1.0);
        found[{*series, ""}][tokens].add(
            table, row, counts[static_cast<std::size_t>(task - recall.tasks.begin())]);
    }
    Json json(recall.series.size(), Json::object());
    for (const auto& [name, curve] : found)
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
        return read_curves(path, sources.recall);
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
