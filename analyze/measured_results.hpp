#pragma once

#include "core/budget.hpp"
#include "sim/csv.hpp"
#include "sim/summary.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// One sequence of a result, its heads added up.
struct MeasuredSequence {
    SequenceSummary summary;
    std::int64_t heads = 0;  ///< (layer, KV head) pairs
};

/// A result as recall.csv tells it.
struct MeasuredResult {
    std::string policy;  ///< spec
    std::string parameters;
    Budget budget;
    std::string schedule;
    std::string query_source;
    std::map<std::string, MeasuredSequence> sequences;  ///< by name
};

/// Reads recall.csv of a directory; results in the order of the table. A table that is missing is
/// an io error, one that is malformed a format error.
std::vector<MeasuredResult> read_measured_results(const std::filesystem::path& directory);

/// What results are compared by, one figure for each sequence.
struct ComparedMetric {
    std::string_view name;
    bool higher_is_better = true;
    std::optional<double> SequenceSummary::*figure = nullptr;
};
std::span<const ComparedMetric> compared_metrics();

/// Sequences that a row is about: those of one task, or all.
struct TaskChoice {
    std::string name;  ///< as in the column `task`
    bool all = false;

    bool holds(const MeasuredSequence& sequence) const {
        return all || sequence.summary.task == name;
    }
};
/// Over everything first (not where there is one task), then task by task. One of several tasks
/// that is named `all` is a format error.
std::vector<TaskChoice> task_choices(std::span<const MeasuredResult> results);

/// The figures of the sequences that all of `results` hold with a defined one: [result][sequence].
std::vector<std::vector<double>> paired_figures(std::span<const MeasuredResult* const> results,
                                                const TaskChoice& task,
                                                const ComparedMetric& metric);

/// Kept tokens and bytes of the sequences of a task.
struct KeptTotals {
    std::int64_t sequences = 0, heads = 0;
    std::int64_t tokens = 0, kept = 0;
    std::int64_t bytes = 0, full_bytes = 0;

    double ratio() const {
        return tokens == 0 ? 0.0 : static_cast<double>(kept) / static_cast<double>(tokens);
    }
};
KeptTotals kept_totals(const MeasuredResult& result, const TaskChoice& task);

}  // namespace kvtape
