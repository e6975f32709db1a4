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
    const bool skips_layers = parameters.contains("skip");
    return {.budget = skips_layers ? BudgetRule::own : policy.info->budget_rule,
            .compat = kvpress ? Compat::kvpress : Compat::none};
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

void validate(const Merges& merges,
              std::span<const Position> keep,
              std::span<const Position> held,
              HeadId id,
              const Shape& shape,
              const PolicyRun& policy,
              const SequenceInfo& sequence) {
    const auto is_kept = [&](Position position) {
        return std::binary_search(keep.begin(), keep.end(), position);
    };
    const auto gave_way = [&](const Absorbed& absorbed) {
        return std::binary_search(held.begin(), held.end(), absorbed.from) &&
               !is_kept(absorbed.from) && is_kept(absorbed.into);
    };
    const auto rows = merges.changed.size() * static_cast<std::size_t>(shape.head_dim);
    const bool ascending =
        std::adjacent_find(merges.changed.begin(), merges.changed.end(), std::greater_equal<>()) ==
        merges.changed.end();
    if (ascending && merges.keys.size() == rows && merges.values.size() == rows &&
        std::all_of(merges.changed.begin(), merges.changed.end(), is_kept) &&
        std::all_of(merges.absorbed.begin(), merges.absorbed.end(), gave_way))
        return;
    throw internal_error("checking what " + policy.spec + " merges in sequence " + sequence.name +
                         ", layer " + std::to_string(id.layer) + ", KV head " +
                         std::to_string(id.head) +
                         ": entries that gave way are held and not kept, those with a new key and "
                         "value are kept and ascend, and there is a row for each of them");
}

}  // namespace kvtape
