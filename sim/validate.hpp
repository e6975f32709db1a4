#pragma once

#include "core/budget.hpp"
#include "core/decision.hpp"
#include "policies/spec.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <span>

namespace kvtape {

/// Throws an internal error that names the policy unless, in every head of `layers`, what is kept
/// is ascending, without repetition, inside the context, and as much as the policy's budget rule
/// says. A variant that follows kvpress keeps exactly what kvpress does, which may be one token
/// less than the limit.
void validate(const Decision& decision,
              const PolicyRun& policy,
              const SequenceInfo& sequence,
              std::span<const std::int32_t> layers,
              const Limit& limit);

}  // namespace kvtape
