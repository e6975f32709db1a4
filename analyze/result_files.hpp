#pragma once

#include "core/error.hpp"
#include "sim/results.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// What could not be used, in one line; the rest of the work goes on without it.
struct Problem {
    ErrorKind kind = ErrorKind::format;
    std::string message;
};

/// The decision files of a directory that can be read, and what is wrong with the others.
struct ResultFiles {
    std::vector<Result> results;  ///< by spec, query source, schedule, budget
    std::vector<Problem> problems;
    std::string trace_fingerprint;  ///< of all results
};

/// Makes sure that a decision file is the one that index.csv lists with this fingerprint. Otherwise
/// another one stands where that was: a format error that names `file`.
void expect_listed(const std::filesystem::path& file,
                   const DecisionFile& decisions,
                   std::string_view fingerprint);

/// Layers times KV heads, over all sequences: what recall.csv has a row of.
std::int64_t heads_of(const DecisionFile& decisions);

/// Opens every decision file that index.csv lists. One that is missing, damaged or of another trace
/// than `trace_fingerprint` (where that is empty: than the first) is a problem and left out. A
/// directory without index.csv, or without one usable file, is a format error; results of a running
/// model are a usage error.
ResultFiles open_result_files(const std::filesystem::path& directory,
                              std::string_view trace_fingerprint);

}  // namespace kvtape
