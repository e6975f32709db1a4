#pragma once

#include "core/json.hpp"
#include "tools/verb.hpp"

namespace kvtape {

/// What may differ between two runs of a command that gave the same results: command line, date,
/// machine, versions, threads, seed. Verbs add their times and write it as run.json.
Json run_record(const Invocation& invocation);

}  // namespace kvtape
