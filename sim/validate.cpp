#include "sim/validate.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <string>

namespace kvtape {
namespace {

/// Whether all of `keep` is held; both ascend. What is held without a gap needs no search.
bool among(std::span<const Position> keep, std::span<const Position> held) {
    if (keep.empty() || held.empty())
        return keep.empty();
    const bool gapless = held.back() - held.front() + 1 == std::ssize(held);
    if (gapless)
        return held.front() <= keep.front() && keep.back() <= held.back();
    return std::includes(held.begin(), held.end(), keep.begin(), keep.end());
}

/// Whether every entry is above the one before: all are compared, so that it runs in lanes.
bool ascends(std::span<const Position> keep) {
    int below = 0;
    for (std::size_t i = 1; i < keep.size(); ++i)
        below |= keep[i] <= keep[i - 1] ? 1 : 0;
    return below == 0;
}

/// Whether `kept` of `held` entries obey the rule.
bool obeys(Rule rule, std::ptrdiff_t kept, Position held, const Limit& limit) {
    switch (rule.budget) {
        case BudgetRule::exact:
            return kept == tokens_of(rule.compat, limit, held);
        case BudgetRule::at_most:
            return kept <= std::min(limit.tokens, held);
        case BudgetRule::own:
            break;
    }
    return kept <= held;
}

}  // namespace

Rule rule_of(const PolicyRun& policy) {
    const Json parameters = policy.policy->parameters();
    const auto compat = parameters.find("compat");
    const bool kvpress = compat != parameters.end() && *compat == "kvpress";
    return {.budget = policy.info->budget_rule, .compat = kvpress ? Compat::kvpress : Compat::none};
}

void validate(std::span<const Position> keep,
              std::span<const Position> held,
              HeadId id,
              const Limit& limit,
              Rule rule,
              const PolicyRun& policy,
              const SequenceInfo& sequence) {
    const bool ascending = ascends(keep);
    const bool inside = ascending && among(keep, held);
    const auto all = static_cast<Position>(held.size());
    if (inside && obeys(rule, std::ssize(keep), all, limit))
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
