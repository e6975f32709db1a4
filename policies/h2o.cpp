#include "policies/parts/attention.hpp"
#include "policies/parts/scored.hpp"

namespace kvtape::policies {
namespace {

/// Heavy hitters, the tokens that all queries so far attended to most, and the latest tokens, half
/// of the budget each. Under another query source its queries are added to the sums.
struct H2o {
    void fields(auto&) {}
    Needs needs() const { return {.keys = true, .column_sums = true}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    ByRule by_rule(Position budget, Position) const { return {.last = budget / 2}; }

    Scores score(const HeadView& head, const SessionContext& context) const {
        Matrix sums = head.column_sums;
        if (!head.observed.positions.empty())
            sums += observed_attention(head, context.shape);
        return sum_of_rows(sums);
    }
};

}  // namespace

PolicyInfo h2o() {
    return {.name = "h2o",
            .summary = "keeps the tokens with the most accumulated attention, and the latest ones",
            .source = "Zhang et al., arXiv:2306.14048; recent = floor(B/2), heavy = B - recent",
            .parameters = parameters_of<H2o>,
            .make = make_scored<H2o>};
}

}  // namespace kvtape::policies
