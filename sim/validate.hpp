#pragma once

#include "core/budget.hpp"
#include "core/decision.hpp"
#include "core/types.hpp"
#include "policies/parts/budget.hpp"
#include "policies/spec.hpp"
#include "trace/trace.hpp"

#include <span>

namespace kvtape {

/// What decisions of a policy must obey.
struct Rule {
    BudgetRule budget = BudgetRule::exact;
    Compat compat = Compat::none;
};
Rule rule_of(const PolicyRun& policy);

/// Throws an internal error that names the policy unless what a head keeps is ascending, without
/// repetition, among what it `held`, and as much as `rule`, that of the policy, says. A variant
/// that follows kvpress keeps exactly what kvpress does, which may be one token less than the
/// limit.
void validate(std::span<const Position> keep,
              std::span<const Position> held,
              HeadId id,
              const Limit& limit,
              Rule rule,
              const PolicyRun& policy,
              const SequenceInfo& sequence);

/// Throws an internal error that names the policy unless what merging did to one head makes sense:
/// held entries that are not kept went into kept ones, and kept ones have new rows of `head_dim`.
void validate(const Merges& merges,
              std::span<const Position> keep,
              std::span<const Position> held,
              HeadId id,
              const Shape& shape,
              const PolicyRun& policy,
              const SequenceInfo& sequence);

}  // namespace kvtape
