#include "sim/validate.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <string>

namespace kvtape {
namespace {

/// Whether `kept` of `held` entries obey the rule. A variant that follows foreign arithmetic may
/// keep less than the exact count, never more.
bool obeys(const PolicyRun& policy, std::ptrdiff_t kept, Position held, const Limit& limit) {
    const Position most = std::min(limit.tokens, held);
    const bool variant = policy.policy->parameters().contains("compat");
    switch (policy.info->budget_rule) {
        case BudgetRule::exact:
            return variant ? kept <= most + 1 && kept >= 1 : kept == most;
        case BudgetRule::at_most:
            return kept <= most;
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
    for (const std::int32_t layer : layers)
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            const std::vector<Position>& keep = decision[{layer, head}];
            const bool ascending =
                std::adjacent_find(keep.begin(), keep.end(), std::greater_equal<>()) == keep.end();
            const bool inside =
                keep.empty() || (keep.front() >= 0 && keep.back() < sequence.context_len);
            if (ascending && inside && obeys(policy, std::ssize(keep), sequence.context_len, limit))
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
