#include "policies/parts/window_votes.hpp"

namespace kvtape::policies {
namespace {

/// The last queries of the context vote for the tokens before them; votes are smoothed over
/// neighbours, so that what is kept comes in readable pieces. The window of the last tokens stays.
struct SnapKv : WindowVotes {
    Compat compat = Compat::none;

    void fields(auto& field) {
        WindowVotes::fields(field);
        field("compat", compat, Choice{"", "kvpress"}, "whose budget arithmetic to follow");
    }
    Position budget(const Limit& limit, Position held) const {
        return tokens_of(compat, limit, held);
    }
};

}  // namespace

PolicyInfo snapkv() {
    return {
        .name = "snapkv",
        .summary = "keeps what the last queries of the context attend to, and their window",
        .source = "Li et al., arXiv:2404.14469",
        .variants =
            "kvpress: the budget arithmetic of kvpress 0.5. The capacity of the authors' code is "
            "a token budget (128t), window included, and leaves shorter contexts alone: theirs is "
            "votes=sum, KVCache-Factory's window=8|32,kernel=5|7,votes=sum and its reduce",
        .parameters = parameters_of<SnapKv>,
        .make = make_scored<SnapKv>};
}

}  // namespace kvtape::policies
