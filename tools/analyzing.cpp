#include "tools/analyzing.hpp"

#include "analyze/comparison.hpp"
#include "analyze/pareto.hpp"
#include "analyze/query_sources.hpp"
#include "analyze/result_files.hpp"
#include "analyze/sweep.hpp"
#include "core/error.hpp"
#include "tools/run_record.hpp"
#include "trace/reader.hpp"

#include <memory>
#include <vector>

namespace kvtape {
namespace {

namespace fs = std::filesystem;

/// The recording that run.json names; empty where it does not, or cannot be read.
fs::path noted_trace(const fs::path& directory) {
    try {
        return recording_of(directory, read_run_record(directory));
    } catch (const Error&) {
        return {};
    }
}

std::unique_ptr<Trace> open_own_trace(const fs::path& path, const ResultFiles& files, int threads) {
    std::unique_ptr<Trace> trace = open_trace(path, Unfinished::refuse, threads);
    if (trace->info().fingerprint != files.trace_fingerprint)
        throw format_error("analyzing results of the trace " + files.trace_fingerprint + ": " +
                           path.string() + " has the fingerprint " + trace->info().fingerprint +
                           "; name their own recording with --trace");
    return trace;
}

/// The recording; where none is named and the noted one cannot be used, none and a problem.
std::unique_ptr<Trace> open_recording(const AnalysisRequest& request,
                                      const ResultFiles& files,
                                      std::vector<Problem>& problems) {
    if (request.trace)
        return open_own_trace(*request.trace, files, request.threads);
    const fs::path path = noted_trace(request.directory);
    try {
        if (path.empty() || !fs::exists(path))
            throw io_error("analyzing " + request.directory.string() + ": the recording " +
                           (path.empty() ? std::string("of its results") : path.string()) +
                           " is not there, so heads.csv, damage.csv and paged.csv are left out; "
                           "name it with --trace");
        return open_own_trace(path, files, request.threads);
    } catch (const Error& error) {
        problems.push_back({error.kind(), error.what()});
        return nullptr;
    }
}

/// Measures heads: the tables of a pass over the decision files.
void add_head_tables(const AnalysisRequest& request,
                     const ResultFiles& files,
                     const StepReport& report,
                     Findings& to) {
    const std::unique_ptr<Trace> trace = open_recording(request, files, to.problems);
    const Findings found = findings_of(files.results, trace.get(), request.threads, report);
    to.tables.insert(to.tables.end(), found.tables.begin(), found.tables.end());
    to.problems.insert(to.problems.end(), found.problems.begin(), found.problems.end());
}

/// Compares results: the tables made from recall.csv.
void add_comparisons(const AnalysisRequest& request, Findings& to) {
    const Bootstrap bootstrap;
    std::vector<MeasuredResult> results;
    try {
        results = read_measured_results(request.directory);
    } catch (Error& error) {
        error.add("compare.csv, pareto.csv and queries.csv are left out");
        to.problems.push_back({error.kind(), error.what()});
        return;
    }
    to.tables.push_back({"compare.csv", comparison_table(results, bootstrap, request.threads)});
    to.tables.push_back({"pareto.csv", pareto_table(results, bootstrap)});
    to.tables.push_back({"queries.csv", query_source_table(results, bootstrap)});
    if (request.by)
        to.tables.push_back(
            {"by-" + *request.by + ".csv", sweep_table(results, *request.by, bootstrap)});
}

}  // namespace

Findings analyze_results(const AnalysisRequest& request, const StepReport& report) {
    const ResultFiles files = open_result_files(request.directory, "");
    Findings all{.tables = {}, .problems = files.problems};
    add_comparisons(request, all);
    add_head_tables(request, files, report, all);
    return all;
}

}  // namespace kvtape
