#pragma once

#include "sim/results.hpp"
#include "sim/summary.hpp"

#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// One cell of the printed table: a policy at a budget, over all tasks.
struct Cell {
    std::string policy;
    std::string query_source;
    std::string schedule;
    std::string budget;
    double asked_ratio = 0.0;  ///< share of the context that the budget stands for
    TaskSummary summary;
};

/// The tables of a result directory.
struct Tables {
    std::string recall_csv;
    std::string summary_csv;
    std::string readers_csv;
    std::string autopsy_csv;  ///< only of results with scores; empty when there are none
    std::vector<Cell> cells;  ///< in the order of the results
};

/// Evaluates every result of the directory against the trace, holding one layer of one sequence at
/// a time.
Tables make_tables(const Trace& trace,
                   const std::vector<Result>& results,
                   int threads,
                   const StepReport& report);

}  // namespace kvtape
