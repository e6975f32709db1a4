#include "analyze/result_files.hpp"

#include "analyze/csv_table.hpp"

#include <algorithm>
#include <tuple>

namespace kvtape {
namespace {

namespace fs = std::filesystem;

Result open_result(const fs::path& directory, const CsvTable& index, std::size_t row) {
    const std::string& file = index.text(row, "file");
    if (fs::path(file).filename() != fs::path(file))
        throw format_error("reading " + (directory / "index.csv").string() + ": '" + file +
                           "' is not the name of a file");
    if (!fs::exists(directory / file))
        throw io_error("analyzing " + directory.string() + ": " + file +
                       ", which index.csv lists, is missing; replay again to compute it");
    const std::shared_ptr<const DecisionFile> decisions = open_decisions(directory / file);
    const DecisionInfo& info = decisions->info();
    if (info.loop != "replay")
        throw usage_error("analyzing " + directory.string() + ": " + file +
                          " comes from a live run; analyze reads results of replay (kvtape verify "
                          "compares the two)");
    try {
        Schedule::parse(info.schedule);
        return {.file = file,
                .policy = index.text(row, "policy"),
                .parameters = info.parameters,
                .budget = Budget::parse(info.budget),
                .schedule = info.schedule,
                .query_source = info.query_source,
                .seed = info.seed,
                .fingerprint = info.fingerprint,
                .decisions = decisions};
    } catch (const Error& error) {
        throw format_error("reading " + (directory / file).string() + ": " + error.what());
    }
}

}  // namespace

void expect_listed(const fs::path& file,
                   const DecisionFile& decisions,
                   std::string_view fingerprint) {
    if (decisions.info().fingerprint != fingerprint)
        throw format_error("reading " + file.string() + ": its fingerprint is " +
                           decisions.info().fingerprint + ", but index.csv lists it with " +
                           std::string(fingerprint) +
                           ": another file took its place; remove it and replay again");
}

std::int64_t heads_of(const DecisionFile& decisions) {
    std::int64_t heads = 0;
    for (std::int32_t s = 0; s < decisions.sequences(); ++s)
        heads += std::ssize(decisions.layers(s)) * decisions.kv_heads(s);
    return heads;
}

ResultFiles open_result_files(const fs::path& directory, std::string_view trace_fingerprint) {
    if (!fs::is_directory(directory))
        throw io_error("analyzing " + directory.string() + ": there is no such directory");
    if (!fs::exists(directory / "index.csv"))
        throw format_error("analyzing " + directory.string() +
                           ": it holds no results (no index.csv); name the --out of a replay");
    const CsvTable index =
        CsvTable::read(directory / "index.csv", {"file", "policy", "fingerprint"});
    ResultFiles found{
        .results = {}, .problems = {}, .trace_fingerprint = std::string(trace_fingerprint)};
    for (std::size_t row = 0; row < index.rows(); ++row) {
        try {
            Result result = open_result(directory, index, row);
            const std::string& trace = result.decisions->info().trace_fingerprint;
            if (found.trace_fingerprint.empty())
                found.trace_fingerprint = trace;
            if (trace != found.trace_fingerprint)
                throw format_error("analyzing " + directory.string() + ": " + result.file +
                                   " belongs to the trace " + trace + ", not to " +
                                   found.trace_fingerprint + "; it is left out");
            expect_listed(
                directory / result.file, *result.decisions, index.text(row, "fingerprint"));
            found.results.push_back(std::move(result));
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::usage)
                throw;
            found.problems.push_back({error.kind(), error.what()});
        }
    }
    if (found.results.empty())
        throw found.problems.empty()
            ? format_error("analyzing " + directory.string() + ": index.csv lists no results")
            : Error(found.problems.front().kind, found.problems.front().message);
    const auto key = [](const Result& result) {
        return std::tie(
            result.policy, result.query_source, result.schedule, result.budget, result.file);
    };
    std::sort(found.results.begin(), found.results.end(), [&](const Result& a, const Result& b) {
        return key(a) < key(b);
    });
    return found;
}

}  // namespace kvtape
