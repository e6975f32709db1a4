#include "tools/analyzing.hpp"

#include "analyze/comparison.hpp"
#include "analyze/pareto.hpp"
#include "analyze/query_sources.hpp"
#include "analyze/result_files.hpp"
#include "analyze/sweep.hpp"
#include "core/error.hpp"
#include "tools/run_record.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <memory>
#include <string>
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

bool is_of(const MeasuredResult& measured, const Result& result) {
    return measured.policy == result.policy && measured.parameters == result.parameters &&
           measured.budget.text() == result.budget.text() && measured.schedule == result.schedule &&
           measured.query_source == result.query_source;
}

/// Whether the table has as many rows as the decision file has heads, of as many sequences.
bool is_whole(const MeasuredResult& measured, const DecisionFile& decisions) {
    std::int64_t heads = 0;
    for (const auto& [name, sequence] : measured.sequences)
        heads += sequence.heads;
    return heads == heads_of(decisions) && std::ssize(measured.sequences) == decisions.sequences();
}

/// A table that lost rows of some results would compare the others, or less of them, in silence.
void expect_rows(const std::vector<MeasuredResult>& measured,
                 const fs::path& directory,
                 const ResultFiles& files,
                 std::vector<Problem>& problems) {
    const std::string reading = "reading " + (directory / "recall.csv").string() + ": ";
    if (measured.empty())
        throw format_error(reading + "it holds no results; run kvtape replay into this directory");
    std::string names;
    std::size_t missing = 0;
    for (const Result& result : files.results)
        if (std::none_of(measured.begin(),
                         measured.end(),
                         [&](const MeasuredResult& one) {
                             return is_of(one, result) && is_whole(one, *result.decisions);
                         }) &&
            ++missing <= 3)
            names += (missing == 1 ? "" : ", ") + result.policy + " at " + result.budget.text();
    if (missing > 0)
        problems.push_back(
            {ErrorKind::format,
             reading + "it lacks rows, or has too many, of " + std::to_string(missing) +
                 " of the " + std::to_string(files.results.size()) +
                 " results that index.csv lists (" + names + (missing > 3 ? ", ..." : "") +
                 "), which compare.csv, pareto.csv and queries.csv now know in part "
                 "or not at all; replay into the directory again"});
}

/// Compares results: the tables made from recall.csv.
void add_comparisons(const AnalysisRequest& request, const ResultFiles& files, Findings& to) {
    const Bootstrap bootstrap;
    std::vector<MeasuredResult> results;
    try {
        results = read_measured_results(request.directory);
        expect_rows(results, request.directory, files, to.problems);
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
    add_comparisons(request, files, all);
    add_head_tables(request, files, report, all);
    return all;
}

}  // namespace kvtape
