#pragma once

#include "sim/tables.hpp"
#include "tools/verb.hpp"
#include "trace/trace.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace kvtape {

/// Replays into `out` what it lacks, as the options of the verb `replay` ask, and writes its tables
/// and `run.json`.
Tables replay_and_tabulate(const Invocation& invocation,
                           const Trace& trace,
                           const std::filesystem::path& out);

/// What a second run is held against.
enum class Compared {
    decisions,   ///< the decision files: `out` holds results of earlier runs too
    everything,  ///< tables as well, all but run.json: `out` was empty before the first run
};

/// Replays once more into a directory beside `out`, which is removed afterwards, and compares byte
/// by byte; returns the names of the files that differ or that only one run wrote, sorted.
std::vector<std::string> differences_of_second_run(const Invocation& invocation,
                                                   const Trace& trace,
                                                   const std::filesystem::path& out,
                                                   Compared compared);

}  // namespace kvtape
