#pragma once

#include "policies/parts/parameters.hpp"
#include "policies/parts/pooling.hpp"
#include "policies/parts/scored.hpp"

namespace kvtape {

/// The observation window of SnapKV (arXiv:2404.14469), shared by the methods built on it: the last
/// queries of the context vote for the tokens before them, and votes are smoothed over neighbours.
/// Under another query source the voters change, the window does not.
struct WindowVotes {
    enum class Group { after, before };
    enum class Votes { mean, sum };
    enum class Reduce { mean, sum, max };

    std::int32_t window = 64;
    std::int32_t kernel = 5;
    Pool pool = Pool::avg;
    Group group = Group::after;
    Votes votes = Votes::mean;
    Reduce reduce = Reduce::mean;

    void fields(auto& field) {
        field("window", window, Whole{1, 65536}, "last context tokens: they vote and stay");
        field("kernel", kernel, Whole{.lowest = 1, .highest = 1023, .odd = true}, "pooling width");
        field("pool", pool, Choice{"avg", "max"}, "how votes are smoothed over neighbours");
        field("group",
              group,
              Choice{"after", "before"},
              "query heads are put together after pooling or before");
        field("votes", votes, Choice{"mean", "sum"}, "votes of the window's queries");
        field("reduce", reduce, Choice{"mean", "sum", "max"}, "how query heads are put together");
    }
    Needs needs() const { return {.keys = true, .window = window}; }
    ByRule by_rule(Position budget, Position) const { return {.last = std::min(window, budget)}; }

    /// Of the tokens before the window: probability over voters and query heads, smoothed.
    Scores score(const HeadView& head, const SessionContext& context) const;
};

}  // namespace kvtape
