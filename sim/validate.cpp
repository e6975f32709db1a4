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

void validate(const Decision& decision,
              const PolicyRun& policy,
              const SequenceInfo& sequence,
              std::span<const std::int32_t> layers,
              const Limit& limit) {
    const BudgetRule rule = policy.info->budget_rule;
    const Compat compat = compat_of(policy);
    for (const std::int32_t layer : layers)
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            const std::vector<Position>& keep = decision[{layer, head}];
            const bool ascending =
                std::adjacent_find(keep.begin(), keep.end(), std::greater_equal<>()) == keep.end();
            const bool inside =
                keep.empty() || (keep.front() >= 0 && keep.back() < sequence.context_len);
            if (ascending && inside &&
                obeys(rule, compat, std::ssize(keep), sequence.context_len, limit))
                continue;
            throw internal_error(
                "checking what " + policy.spec + " keeps of sequence " + sequence.name +
                ", layer " + std::to_string(layer) + ", KV head " + std::to_string(head) + ": " +
                std::to_string(keep.size()) + " tokens, " +
                (ascending ? inside ? "within the context" : "some outside the context"
                           : "not in ascending order") +
                "; its limit is " + std::to_string(limit.tokens) + " of " +
                std::to_string(sequence.context_len) + " tokens");
        }
}

}  // namespace kvtape
