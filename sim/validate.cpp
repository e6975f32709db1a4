#include "sim/validate.hpp"

#include "core/error.hpp"
#include "policies/parts/budget.hpp"

#include <algorithm>
#include <string>

namespace kvtape {
namespace {

/// Whose arithmetic the policy's own parameters name.
Compat compat_of(const PolicyRun& policy) {
    const Json parameters = policy.policy->parameters();
    const auto compat = parameters.find("compat");
    return compat != parameters.end() && *compat == "kvpress" ? Compat::kvpress : Compat::none;
}

/// Whether `kept` of `held` entries obey the rule.
bool obeys(BudgetRule rule, Compat compat, std::ptrdiff_t kept, Position held, const Limit& limit) {
    switch (rule) {
        case BudgetRule::exact:
            return kept == tokens_of(compat, limit, held);
        case BudgetRule::at_most:
            return kept <= std::min(limit.tokens, held);
        case BudgetRule::own:
            break;
    }
    return kept <= held;
}

}  // namespace

void validate(std::span<const Position> keep,
              std::span<const Position> held,
              HeadId id,
              const Limit& limit,
              const PolicyRun& policy,
              const SequenceInfo& sequence) {
    const bool ascending =
        std::adjacent_find(keep.begin(), keep.end(), std::greater_equal<>()) == keep.end();
    const bool inside =
        ascending && std::includes(held.begin(), held.end(), keep.begin(), keep.end());
    const auto all = static_cast<Position>(held.size());
    if (inside && obeys(policy.info->budget_rule, compat_of(policy), std::ssize(keep), all, limit))
        return;
    throw internal_error("checking what " + policy.spec + " keeps of sequence " + sequence.name +
                         ", layer " + std::to_string(id.layer) + ", KV head " +
                         std::to_string(id.head) + ": " + std::to_string(keep.size()) +
                         " tokens, " +
                         (inside      ? "all of them held"
                          : ascending ? "some that it does not hold"
                                      : "not in ascending order") +
                         "; its limit is " + std::to_string(limit.tokens) + " of " +
                         std::to_string(all) + " tokens");
}

}  // namespace kvtape
