#include "analyze/csv_table.hpp"
#include "analyze/verification.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>

namespace kvtape {
namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

/// Policy, parameters, budget, schedule, query source.
using CellName = std::array<std::string, 5>;

CellName cell_name(const CsvTable& table, std::size_t row, const std::string& query_source) {
    return {table.text(row, "policy"),
            table.text(row, "parameters"),
            table.text(row, "budget"),
            table.text(row, "schedule"),
            query_source};
}

CellName cell_name(const CsvTable& table, std::size_t row) {
    return cell_name(table, row, table.text(row, "query_source"));
}

/// Sums over the heads of one sequence.
struct Sums {
    double recall = 0.0, mass = 0.0, error = 0.0;
    int recalls = 0, masses = 0, errors = 0;
    double weight = 0.0, weighted = 0.0;

    static void add(double value, double& sum, int& count) {
        if (std::isnan(value))
            return;
        sum += value;
        ++count;
    }
    static double mean(double sum, int count) { return count == 0 ? none : sum / count; }
};

constexpr std::size_t metric_count = 6, read_metric = 4, readers_metric = 5;
const std::array<std::string, metric_count> metric_names = {"needle_recall",
                                                            "needle_recall_weighted",
                                                            "mass_kept",
                                                            "output_error_median",
                                                            "needle_read",
                                                            "needle_recall_readers"};
using Metrics = std::array<double, metric_count>;

/// By cell, then sequence.
using ReplayedMetrics = std::map<CellName, std::map<std::string, Metrics>>;

/// The metrics of readers.csv; a directory without that table has none of them.
void add_readers(const std::filesystem::path& path, ReplayedMetrics& metrics) {
    if (!std::filesystem::exists(path))
        return;
    const CsvTable table = CsvTable::read(path,
                                          {"policy",
                                           "parameters",
                                           "budget",
                                           "schedule",
                                           "query_source",
                                           "sequence",
                                           "needle_read",
                                           "needle_recall_readers"});
    for (std::size_t row = 0; row < table.rows(); ++row)
        if (const auto cell = metrics.find(cell_name(table, row)); cell != metrics.end())
            if (const auto found = cell->second.find(table.text(row, "sequence"));
                found != cell->second.end()) {
                found->second[read_metric] = table.number(row, "needle_read");
                found->second[readers_metric] = table.number(row, "needle_recall_readers");
            }
}

ReplayedMetrics read_metrics(const std::filesystem::path& directory) {
    const CsvTable table = CsvTable::read(directory / "recall.csv",
                                          {"policy",
                                           "parameters",
                                           "budget",
                                           "schedule",
                                           "query_source",
                                           "sequence",
                                           "needle_recall",
                                           "needle_recall_weight",
                                           "mass_kept",
                                           "output_error_median"});
    std::map<CellName, std::map<std::string, Sums>> sums;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        Sums& sum = sums[cell_name(table, row)][table.text(row, "sequence")];
        const double recall = table.number(row, "needle_recall");
        Sums::add(recall, sum.recall, sum.recalls);
        Sums::add(table.number(row, "mass_kept"), sum.mass, sum.masses);
        Sums::add(table.number(row, "output_error_median"), sum.error, sum.errors);
        if (const double weight = table.number(row, "needle_recall_weight");
            !std::isnan(recall) && !std::isnan(weight)) {
            sum.weight += weight;
            sum.weighted += weight * recall;
        }
    }
    ReplayedMetrics metrics;
    for (const auto& [cell, sequences] : sums)
        for (const auto& [sequence, sum] : sequences)
            metrics[cell][sequence] = {Sums::mean(sum.recall, sum.recalls),
                                       sum.weight > 0.0 ? sum.weighted / sum.weight : none,
                                       Sums::mean(sum.mass, sum.masses),
                                       Sums::mean(sum.error, sum.errors),
                                       none,
                                       none};
    add_readers(directory / "readers.csv", metrics);
    return metrics;
}

/// One cell on one task, metric by metric.
struct JoinedCell {
    std::vector<std::string> sequences;
    std::array<std::vector<double>, metric_count> metrics;
    std::vector<double> correct;
};

/// Answers do not say what their policy's query source was; a directory of answers holds one for
/// each policy, and its index says which.
std::map<std::string, std::string> query_sources(const std::filesystem::path& live) {
    const CsvTable index = CsvTable::read(live / "index.csv", {"policy", "query_source"});
    std::map<std::string, std::string> sources;
    for (std::size_t row = 0; row < index.rows(); ++row)
        sources[index.text(row, "policy")] = index.text(row, "query_source");
    return sources;
}

using JoinedCells = std::map<std::pair<std::string, CellName>, JoinedCell>;  // by task first

JoinedCells join(const ReplayedMetrics& replayed,
                 const CsvTable& answers,
                 const std::map<std::string, std::string>& sources) {
    JoinedCells cells;
    for (std::size_t row = 0; row < answers.rows(); ++row) {
        const double correct = answers.number(row, "correct");
        const auto source = sources.find(answers.text(row, "policy"));
        if (source == sources.end())
            continue;
        const auto cell = replayed.find(cell_name(answers, row, source->second));
        if (cell == replayed.end() || std::isnan(correct) || correct < 0.0)
            continue;
        const auto metrics = cell->second.find(answers.text(row, "sequence"));
        if (metrics == cell->second.end())
            continue;
        JoinedCell& joined = cells[{answers.text(row, "task"), cell->first}];
        joined.sequences.push_back(metrics->first);
        joined.correct.push_back(correct);
        for (std::size_t i = 0; i < metric_count; ++i)
            joined.metrics[i].push_back(metrics->second[i]);
    }
    return cells;
}

/// In every task, only the sequences that all of its cells hold, in the order of their names.
JoinedCells in_common(const JoinedCells& cells) {
    std::map<std::string, std::map<std::string, std::size_t>> holders;  // by task, sequence
    std::map<std::string, std::size_t> sizes;
    for (const auto& [name, cell] : cells) {
        ++sizes[name.first];
        for (const std::string& sequence : cell.sequences)
            ++holders[name.first][sequence];
    }
    JoinedCells common;
    for (const auto& [name, cell] : cells) {
        std::map<std::string, std::size_t> places;
        for (std::size_t i = 0; i < cell.sequences.size(); ++i)
            if (holders[name.first][cell.sequences[i]] == sizes[name.first])
                places[cell.sequences[i]] = i;
        if (places.empty())
            continue;
        JoinedCell& kept = common[name];
        for (const auto& [sequence, place] : places) {
            kept.sequences.push_back(sequence);
            kept.correct.push_back(cell.correct[place]);
            for (std::size_t metric = 0; metric < metric_count; ++metric)
                kept.metrics[metric].push_back(cell.metrics[metric][place]);
        }
    }
    return common;
}

}  // namespace

std::vector<MetricCalibration> calibrate_directories(const std::filesystem::path& replay,
                                                     const std::filesystem::path& live,
                                                     int threads) {
    const CsvTable answers = CsvTable::read(
        live / "answers.csv",
        {"policy", "parameters", "budget", "schedule", "sequence", "task", "correct"});
    const JoinedCells cells = in_common(join(read_metrics(replay), answers, query_sources(live)));
    std::vector<std::string> tasks = {""};
    for (const auto& [name, cell] : cells)
        if (tasks.back() != name.first)
            tasks.push_back(name.first);
    if (tasks.size() == 2)
        tasks.pop_back();
    std::vector<MetricCalibration> result;
    for (const std::string& task : tasks)
        for (std::size_t metric = 0; metric < metric_count; ++metric) {
            std::vector<CalibrationCell> chosen;
            for (const auto& [name, cell] : cells)
                if (task.empty() || name.first == task)
                    chosen.push_back({.task = name.first,
                                      .metric = cell.metrics[metric],
                                      .correct = cell.correct});
            result.push_back({.metric = metric_names[metric],
                              .task = task,
                              .calibration = calibrate(chosen, threads)});
        }
    return result;
}

}  // namespace kvtape
