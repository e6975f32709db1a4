#include "policies/parts/scored.hpp"

namespace kvtape::policies {
namespace {

/// Keeps tokens drawn at random, each head its own; the expected needle recall is the kept share.
struct Random {
    void fields(auto&) {}
    Needs needs() const { return {}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }

    /// The number of a token depends on (seed, stream, layer, head, position) alone.
    Scores score(const HeadView& head, const SessionContext& context) const {
        const auto number = static_cast<std::uint64_t>(head.id.layer) *
                                static_cast<std::uint64_t>(context.shape.kv_heads) +
                            static_cast<std::uint64_t>(head.id.head);
        Scores scores(head.positions.size());
        for (std::size_t i = 0; i < scores.size(); ++i) {
            const auto position = static_cast<std::uint64_t>(head.positions[i]);
            scores[i] = static_cast<float>(context.random.uniform(number << 32 | position));
        }
        return scores;
    }
};

}  // namespace

PolicyInfo random() {
    return {.name = "random",
            .summary = "keeps tokens drawn at random, per layer and KV head",
            .source = "control; Philox4x32-10, Salmon et al., SC 2011",
            .parameters = parameters_of<Random>,
            .make = make_scored<Random>};
}

}  // namespace kvtape::policies
