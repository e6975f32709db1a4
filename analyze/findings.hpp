#pragma once

#include "analyze/result_files.hpp"
#include "analyze/scene.hpp"

#include <memory>
#include <string>
#include <vector>

namespace kvtape {

/// A finished table.
struct FindingsTable {
    std::string file;
    std::string text;
};

struct Findings {
    std::vector<FindingsTable> tables;
    std::vector<Problem> problems;
};

/// bias.csv, heads.csv, damage.csv and paged.csv over the results of a directory (docs/metrics.md).
/// Holds one layer of one sequence at a time. Without a trace (null) only what decisions alone tell
/// is measured, and tables that need more are left out. A decision file that turns out to be
/// damaged is a problem: its result is left out of every table. So is a damaged trace, which leaves
/// out the tables that need it. Tables do not depend on the number of threads.
Findings findings_of(const std::vector<Result>& results,
                     const Trace* trace,
                     int threads,
                     const StepReport& report);

}  // namespace kvtape
