#include "core/kernels.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape::policies {
namespace {

/// Keys with a small norm tend to draw attention, so they are kept.
struct Knorm {
    static constexpr bool may_be_negative = true;
    std::vector<std::int32_t> skip = {};
    Compat compat = Compat::none;

    void fields(auto& field) {
        field("skip", skip, LayerList{}, "layers left uncompressed; the paper advises 0+1");
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
    Needs needs() const { return {.keys = true}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    Position budget(const Limit& limit, Position held, std::int32_t layer, const Shape&) const {
        return std::binary_search(skip.begin(), skip.end(), layer) ? held
                                                                   : tokens_of(compat, limit, held);
    }
    void expect_fit(const Shape& shape) const { expect_layers(skip, shape); }

    Scores score(const HeadView& head, const SessionContext&) const {
        Scores scores(head.positions.size());
        squared_norms(head.keys, scores);
        for (float& score : scores)
            score = -std::sqrt(score);
        return scores;
    }
};

}  // namespace

PolicyInfo knorm() {
    return {.name = "knorm",
            .summary = "keeps the keys with the smallest norm",
            .source = "Devoto et al., arXiv:2406.11430",
            .variants = "kvpress: the budget arithmetic of kvpress 0.5",
            .parameters = parameters_of<Knorm>,
            .make = make_scored<Knorm>};
}

}  // namespace kvtape::policies
