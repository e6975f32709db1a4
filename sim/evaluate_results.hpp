#pragma once

#include "sim/evaluate.hpp"
#include "sim/results.hpp"

#include <vector>

namespace kvtape {

/// Heads of every (result, sequence), in the order of layers and heads.
using EvaluatedHeads = std::vector<std::vector<std::vector<HeadResult>>>;

/// Measures every result against the trace, holding one layer of one sequence at a time. Results of
/// one policy and source stand together, as in a result directory.
EvaluatedHeads evaluate_results(const Trace& trace,
                                const std::vector<Result>& results,
                                int threads,
                                const StepReport& report);

}  // namespace kvtape
