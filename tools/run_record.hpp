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

/// `record` with the list `earlier`: command, producer and date of what run.json of `directory`
/// holds of earlier runs into it, oldest first, the last 32 of them. A run.json that cannot be read
/// adds none.
Json with_earlier(Json record, const std::filesystem::path& directory);

/// Where the recording of the results is, by their run.json; empty where that does not say.
std::filesystem::path recording_of(const std::filesystem::path& directory, const Json& record);

}  // namespace kvtape
