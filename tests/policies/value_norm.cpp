#include "core/kernels.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

/// A token with a long value moves the output far, so it is kept. The first tokens stay anyway:
/// they draw attention although their values are short.
struct ValueNorm {
    std::int32_t sinks = 4;

    void fields(auto& field) { field("sinks", sinks, Whole{0, 1024}, "first tokens, always kept"); }
    Needs needs() const { return {.values = true}; }
    ByRule by_rule(Position budget, Position) const { return {.first = std::min(sinks, budget)}; }

    Scores score(const HeadView& head, const SessionContext&) const {
        Scores scores(head.positions.size());
        squared_norms(head.values, scores);
        return scores;
    }
};

}  // namespace

PolicyInfo value_norm() {
    return {.name = "value_norm",
            .summary = "keeps the tokens with the longest values",
            .source = "an example, docs/adding-a-policy.md",
            .parameters = parameters_of<ValueNorm>,
            .make = make_scored<ValueNorm>};
}

}  // namespace kvtape::policies
