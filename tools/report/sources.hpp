#pragma once

#include "core/json.hpp"
#include "tools/report/answers.hpp"
#include "tools/report/figures.hpp"
#include "trace/decisions.hpp"
#include "trace/trace.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace kvtape::report {

/// Where a report takes its data from.
struct Request {
    std::filesystem::path directory;  ///< results of a replay
    std::filesystem::path trace;      ///< empty: the one that run.json names
    std::filesystem::path live;       ///< tables of live and verify; empty: found or left out
    int threads = 1;
};

/// The decision file of a cell and the bytes it says, over its sequences.
struct CellFile {
    std::shared_ptr<const DecisionFile> decisions;  ///< null where it cannot be read
    std::int64_t kept_bytes = 0, full_bytes = 0;
};

/// What there is to report on. `notes` are lines about what is not, and why.
struct Sources {
    Recall recall;
    std::vector<CellFile> files;  ///< one for each cell
    std::unique_ptr<const Trace> trace;
    std::filesystem::path directory, live;  ///< `live` is empty where there is none
    std::vector<LiveAnswers> answers;       ///< of `live`
    Json run;                               ///< run.json, or null
    int threads = 1;
    std::vector<std::string> notes;
};

/// Opens what there is. Only recall.csv is indispensable (an Error says which directory lacks it);
/// everything else that is absent or damaged becomes a note.
Sources open_sources(const Request& request);

}  // namespace kvtape::report
