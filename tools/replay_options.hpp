#pragma once

#include "policies/spec.hpp"
#include "sim/replay.hpp"
#include "tools/verb.hpp"

#include <string>
#include <vector>

namespace kvtape {

/// What the command line of `replay` asks for, checked against the trace.
struct ReplayOptions {
    std::vector<PolicyRun> policies;
    std::vector<Budget> budgets;
    ReplayRequest request;
    /// What `--policies all` left out, a line with the reason for each.
    std::vector<std::string> left_out;

    std::vector<ReplayTask> tasks() const;
};

/// Declares the options that say which policies decide over what, and where results go: those of
/// every verb that drives policies.
void declare_replaying(boost::program_options::options_description& own);

/// Reads the options. `trace` must outlive the result. Unknown policies, budgets, schedules,
/// sources, tasks, sequences and layers are usage errors.
ReplayOptions read_replay_options(const Invocation& invocation, const Trace& trace);

}  // namespace kvtape
