#include "analyze/measured_results.hpp"

#include "analyze/csv_table.hpp"
#include "core/error.hpp"

#include <cmath>
#include <set>

namespace kvtape {
namespace {

using ResultName = std::array<std::string, 5>;

const std::vector<std::string> name_columns = {
    "policy", "parameters", "budget", "schedule", "query_source"};
const std::vector<std::string> figure_columns = {"sequence",
                                                 "task",
                                                 "tokens",
                                                 "kept",
                                                 "kept_bytes",
                                                 "needle_tokens",
                                                 "needle_kept",
                                                 "needle_recall_weight",
                                                 "mass_kept",
                                                 "output_error_median"};

ResultName name_of(const CsvTable& table, std::size_t row) {
    ResultName name;
    for (std::size_t i = 0; i < name.size(); ++i)
        name[i] = table.text(row, name_columns[i]);
    return name;
}

std::optional<double> figure(const CsvTable& table, std::size_t row, const char* column) {
    const double value = table.number(row, column);
    return std::isnan(value) ? std::nullopt : std::optional(value);
}

std::int64_t count(const CsvTable& table, std::size_t row, const char* column) {
    const double value = table.number(row, column);
    if (!(value >= 0.0 && value < 9e15 && value == std::floor(value)))
        throw format_error("reading recall.csv: '" + table.text(row, column) + "' in column " +
                           column + " of record " + std::to_string(row + 1) + " is not a count");
    return static_cast<std::int64_t>(value);
}

/// One head; where it is does not matter here.
HeadResult head_of(const CsvTable& table, std::size_t row) {
    HeadResult head;
    head.tokens = count(table, row, "tokens");
    head.kept = count(table, row, "kept");
    head.kept_bytes = count(table, row, "kept_bytes");
    head.needle_tokens = count(table, row, "needle_tokens");
    head.needle_kept = count(table, row, "needle_kept");
    head.needle_weight = figure(table, row, "needle_recall_weight").value_or(0.0);
    head.mass_kept = figure(table, row, "mass_kept");
    head.output_error_median = figure(table, row, "output_error_median");
    return head;
}

/// Heads of one sequence, while the table is read.
struct Gathered {
    std::string task;
    std::vector<HeadResult> heads;
};

MeasuredSequence measured(const Gathered& gathered) {
    std::int64_t entry_bytes = 0;  // Every kept token takes as many.
    for (const HeadResult& head : gathered.heads)
        if (head.kept > 0)
            entry_bytes = head.kept_bytes / head.kept;
    return {summarise(gathered.task, gathered.heads, entry_bytes), std::ssize(gathered.heads)};
}

Budget budget_of(const std::filesystem::path& table, const std::string& text) {
    try {
        return Budget::parse(text);
    } catch (const Error& error) {
        throw format_error("reading the table " + table.string() + ": " + error.what());
    }
}

}  // namespace

std::vector<MeasuredResult> read_measured_results(const std::filesystem::path& directory) {
    std::vector<std::string> columns = name_columns;
    columns.insert(columns.end(), figure_columns.begin(), figure_columns.end());
    const std::filesystem::path path = directory / "recall.csv";
    const CsvTable table = CsvTable::read(path, columns);
    std::vector<MeasuredResult> results;
    std::map<ResultName, std::size_t> places;
    std::vector<std::map<std::string, Gathered>> gathered;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const ResultName name = name_of(table, row);
        const auto [place, added] = places.emplace(name, results.size());
        if (added) {
            results.push_back({.policy = name[0],
                               .parameters = name[1],
                               .budget = budget_of(path, name[2]),
                               .schedule = name[3],
                               .query_source = name[4],
                               .sequences = {}});
            gathered.emplace_back();
        }
        Gathered& sequence = gathered[place->second][table.text(row, "sequence")];
        sequence.task = table.text(row, "task");
        sequence.heads.push_back(head_of(table, row));
    }
    for (std::size_t r = 0; r < results.size(); ++r)
        for (const auto& [name, sequence] : gathered[r])
            results[r].sequences.emplace(name, measured(sequence));
    return results;
}

std::span<const ComparedMetric> compared_metrics() {
    static constexpr std::array metrics = {
        ComparedMetric{"needle_recall_weighted", true, &SequenceSummary::needle_recall_weighted},
        ComparedMetric{"needle_recall", true, &SequenceSummary::needle_recall},
        ComparedMetric{"mass_kept", true, &SequenceSummary::mass_kept},
        ComparedMetric{"output_error_median", false, &SequenceSummary::output_error_median}};
    return metrics;
}

std::vector<TaskChoice> task_choices(std::span<const MeasuredResult> results) {
    std::set<std::string> tasks;
    for (const MeasuredResult& result : results)
        for (const auto& [name, sequence] : result.sequences)
            tasks.insert(sequence.summary.task);
    if (tasks.size() > 1 && tasks.count("all") != 0)
        throw format_error(
            "analyzing: a task of the recording is named 'all', which in the tables is all tasks "
            "together; record it under another name");
    std::vector<TaskChoice> choices;
    if (tasks.size() > 1)
        choices.push_back({.name = "all", .all = true});
    for (const std::string& task : tasks)
        choices.push_back({.name = task});
    return choices;
}

std::vector<std::vector<double>> paired_figures(std::span<const MeasuredResult* const> results,
                                                const TaskChoice& task,
                                                const ComparedMetric& metric) {
    std::vector<std::vector<double>> figures(results.size());
    for (const auto& [name, first] : results.front()->sequences) {
        if (!task.holds(first))
            continue;
        std::vector<double> row;
        for (const MeasuredResult* result : results) {
            const auto found = result->sequences.find(name);
            if (found != result->sequences.end() && found->second.summary.*metric.figure)
                row.push_back(*(found->second.summary.*metric.figure));
        }
        if (row.size() == results.size())
            for (std::size_t i = 0; i < row.size(); ++i)
                figures[i].push_back(row[i]);
    }
    return figures;
}

KeptTotals kept_totals(const MeasuredResult& result, const TaskChoice& task) {
    KeptTotals totals;
    for (const auto& [name, sequence] : result.sequences)
        if (task.holds(sequence)) {
            ++totals.sequences;
            totals.heads += sequence.heads;
            totals.tokens += sequence.summary.tokens;
            totals.kept += sequence.summary.kept;
            totals.bytes += sequence.summary.kept_bytes;
            totals.full_bytes += sequence.summary.full_bytes;
        }
    return totals;
}

}  // namespace kvtape
