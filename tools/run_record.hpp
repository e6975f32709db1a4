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
/// holds of earlier runs into it, oldest first, the last 32 of them; and what `note_command` noted
/// of `analyze`. A run.json that cannot be read adds none.
Json with_earlier(Json record, const std::filesystem::path& directory);

/// Keeps in run.json of `directory`, under the name of the verb, the command, producer and date of
/// the call that wrote tables beside the results; the rest of the file stays. Makes the file where
/// there is none; one that cannot be read stays as it is. Errors of writing are io errors.
void note_command(const std::filesystem::path& directory,
                  const std::string& verb,
                  const Invocation& invocation);

/// Where the recording of the results is, by their run.json; empty where that does not say.
std::filesystem::path recording_of(const std::filesystem::path& directory, const Json& record);

}  // namespace kvtape
