#pragma once

#include "core/json.hpp"
#include "tools/verb.hpp"

#include <filesystem>

namespace kvtape {

/// What may differ between two runs of a command that gave the same results: command line, date,
/// machine, versions, threads, seed. Verbs add their times and write it as run.json.
Json run_record(const Invocation& invocation);

/// run.json of a directory of results. Throws Error where there is none or it is no JSON.
Json read_run_record(const std::filesystem::path& directory);

/// Where the recording of the results is, by their run.json; empty where that does not say.
std::filesystem::path recording_of(const std::filesystem::path& directory, const Json& record);

}  // namespace kvtape
