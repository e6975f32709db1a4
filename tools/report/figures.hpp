#pragma once

#include "analyze/measured_results.hpp"
#include "sim/bootstrap.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kvtape::report {

/// The four figures of recall.csv that the report shows, undefined where the table has none.
struct Figures {
    std::optional<double> weighted;  ///< needle recall, weighted by how much a head reads it
    std::optional<double> recall;
    std::optional<double> mass;   ///< mass kept
    std::optional<double> error;  ///< median output error
};

/// One sequence under one result, over its layers and KV heads: means, and the weighted recall.
struct SequenceFigures {
    std::size_t sequence = 0;  ///< index into `Recall::sequences`
    std::int64_t tokens = 0, kept = 0, kept_bytes = 0;
    Figures figures;
    std::int64_t heads = 0;  ///< rows of the table, one for each KV head
};

/// One result of the directory: a policy at a budget.
struct Cell {
    std::string policy, parameters, budget, schedule, query_source;
    std::size_t series = 0;  ///< index into `Recall::series`
    std::int64_t rows = 0;   ///< of the table
    std::vector<SequenceFigures> sequences;
    std::vector<Figures> heads;  ///< [layers * heads], means over sequences

    double kept_ratio() const;
    /// Tokens kept, over all sequences and heads: what budgets are equal by.
    KeptTotals kept() const;
};

/// recall.csv, summed up.
struct Recall {
    std::vector<Cell> cells;          ///< in the order of the table
    std::vector<std::string> series;  ///< what one curve is: a policy, and how it was driven
    std::vector<std::string> sequences, tasks;
    std::vector<std::size_t> task_of;  ///< of every sequence
    std::int32_t layers = 0, heads = 0;
    std::vector<double> needle_weight;  ///< [layers * heads], mean over sequences
    std::shared_ptr<const Bootstrap> bootstrap = std::make_shared<Bootstrap>();  ///< of intervals
};

/// Reads recall.csv of a result directory. An absent, foreign or contradictory table is a format
/// or io error.
Recall read_recall(const std::filesystem::path& directory);

/// Mean and 95 % interval over the sequences of a task, or of all where there is none.
std::optional<Interval> mean_of(const Recall& recall,
                                const Cell& cell,
                                std::optional<double> Figures::*figure,
                                std::optional<std::size_t> task = std::nullopt);

}  // namespace kvtape::report
