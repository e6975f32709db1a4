#include "policies/parts/scored.hpp"

#include <algorithm>

namespace kvtape::policies {
namespace {

/// Keeps the first tokens, which draw attention whatever they say, and the latest ones. A budget
/// that does not exceed the sinks keeps sinks only. Keys keep their original positions; the
/// authors' code turns them to their places in the cache, which changes what they answer, not which
/// are kept: rerotate(streaming_llm).
struct StreamingLlm {
    std::int32_t sinks = 4;

    void fields(auto& field) {
        field("sinks", sinks, Whole{0, 1 << 20}, "first tokens, always kept");
    }
    Needs needs() const { return {}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    ByRule by_rule(Position budget, Position) const {
        const Position first = std::min(sinks, budget);
        return {.first = first, .last = budget - first};
    }
};

}  // namespace

PolicyInfo streaming_llm() {
    return {.name = "streaming_llm",
            .summary = "keeps the first tokens and the latest ones",
            .source = "Xiao et al., arXiv:2309.17453",
            .variants = "rerotate(streaming_llm): the authors' cache, numbered without gaps",
            .parameters = parameters_of<StreamingLlm>,
            .make = make_scored<StreamingLlm>};
}

}  // namespace kvtape::policies
