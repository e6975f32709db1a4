#pragma once

#include "sim/replay.hpp"
#include "sim/results.hpp"

#include <span>
#include <string>

namespace kvtape {

/// Recall and kept mass at every budget in tokens, from one scoring pass: a policy whose kept sets
/// grow with the budget says of each token from which budget on it is kept, and every budget is
/// read off that (Mattson et al. 1970). `curve.csv`, a row for each policy, task and token count up
/// to the longest context of the task.
///
/// The schedule decides once and every policy has a curve (`has_curve`).
std::string curve_table(const ReplayRequest& request,
                        std::span<const ReplayTask> tasks,
                        const StepReport& report);

/// Whether `curve_table` takes the policy.
bool has_curve(const PolicyRun& policy);

}  // namespace kvtape
