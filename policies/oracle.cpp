#include "policies/parts/attention.hpp"
#include "policies/parts/scored.hpp"

namespace kvtape::policies {
namespace {

/// Keeps what the queries after the context will really attend to: the most mass that any choice of
/// that many tokens can keep for a KV head.
struct Oracle {
    void fields(auto&) {}
    Needs needs() const { return {.keys = true, .future = true}; }

    Scores score(const HeadView& head, const SessionContext& context) const {
        return sum_of_rows(observed_attention(head, context.shape));
    }
};

}  // namespace

PolicyInfo oracle() {
    return {.name = "oracle",
            .summary = "keeps what the true future queries attend to most; sees the future",
            .source = "upper bound on kept attention mass",
            .parameters = parameters_of<Oracle>,
            .make = make_scored<Oracle>};
}

}  // namespace kvtape::policies
