#pragma once

#include "core/budget.hpp"
#include "core/types.hpp"
#include "policies/spec.hpp"
#include "trace/trace.hpp"

#include <span>

namespace kvtape {

/// Throws an internal error that names the policy unless what a head keeps is ascending, without
/// repetition, among what it `held`, and as much as the policy's budget rule says. A variant that
/// follows kvpress keeps exactly what kvpress does, which may be one token less than the limit.
void validate(std::span<const Position> keep,
              std::span<const Position> held,
              HeadId id,
              const Limit& limit,
              const PolicyRun& policy,
              const SequenceInfo& sequence);

}  // namespace kvtape
