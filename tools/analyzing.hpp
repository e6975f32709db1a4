#pragma once

#include "analyze/findings.hpp"
#include "sim/results.hpp"

#include <filesystem>
#include <optional>
#include <string>

namespace kvtape {

/// What `kvtape analyze` is asked for.
struct AnalysisRequest {
    std::filesystem::path directory;  ///< results of a replay
    int threads = 1;
    std::optional<std::filesystem::path> trace;  ///< their recording; default: where run.json says
    std::optional<std::string> by;               ///< a parameter to group by
};

/// Every table over the results of a directory, none of them written yet. What is missing or
/// damaged is a problem of the findings and leaves out what needs it; a directory without results,
/// a named trace that cannot be used and an unknown parameter are errors.
Findings analyze_results(const AnalysisRequest& request, const StepReport& report);

}  // namespace kvtape
