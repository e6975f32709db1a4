#include "policies/parts/scored.hpp"

namespace kvtape::policies {
namespace {

/// The reference of every comparison: nothing is evicted, whatever the budget.
struct Full {
    void fields(auto&) {}
    Needs needs() const { return {}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    Position budget(const Limit&, Position held) const { return held; }
    ByRule by_rule(Position, Position held) const { return {.first = held}; }
};

}  // namespace

PolicyInfo full() {
    return {.name = "full",
            .summary = "keeps everything; the reference of every comparison",
            .source = "control",
            .budget_rule = BudgetRule::own,
            .parameters = parameters_of<Full>,
            .make = make_scored<Full>};
}

}  // namespace kvtape::policies
