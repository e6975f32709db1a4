#include "analyze/head_diff.hpp"

#include "core/philox.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fates.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

const std::vector<Block> one_block = {{0, 6, false}};

/// The kept set after a block, as the file format defines it.
std::set<Position> kept_after(const OwnedFate& fate, std::size_t block) {
    std::set<Position> kept;
    for (Position token = 0; token < fate.blocks[block].end; ++token) {
        const std::int32_t gone = fate.evicted_at[static_cast<std::size_t>(token)];
        if (gone == -1 || gone > static_cast<std::int32_t>(block))
            kept.insert(token);
    }
    return kept;
}

double naive_jaccard(const std::set<Position>& a, const std::set<Position>& b) {
    std::set<Position> both, either = a;
    std::set_intersection(
        a.begin(), a.end(), b.begin(), b.end(), std::inserter(both, both.begin()));
    either.insert(b.begin(), b.end());
    return either.empty() ? 1.0
                          : static_cast<double>(both.size()) / static_cast<double>(either.size());
}

}  // namespace

TEST_CASE("kept sets of one block are compared token by token", "[analyze][diff]") {
    const OwnedFate a({-1, -1, 0, -1, 0, 0}, one_block), b({-1, 0, -1, -1, 0, -1}, one_block);
    const std::vector<Position> needle = {1, 2, 3};
    const HeadDiff diff = compare_heads(a.view(), b.view(), 6, needle);
    CHECK(diff.kept.a == 3);
    CHECK(diff.kept.b == 4);
    CHECK(diff.kept.both == 2);
    CHECK(diff.kept.jaccard() == 2.0 / 5.0);
    CHECK(diff.kept.overlap() == 2.0 / 3.0);
    CHECK(diff.only_a == std::vector<TokenRange>{{1, 2}});
    CHECK(diff.only_b == std::vector<TokenRange>{{2, 3}, {5, 6}});
    CHECK(diff.needle_tokens == 3);
    CHECK(diff.needle_a == 2);
    CHECK(diff.needle_b == 2);
    CHECK(diff.needle_lost == 1);
    CHECK(diff.needle_gained == 1);
    CHECK(diff.part_at == 6);
    CHECK_FALSE(diff.identical());
    CHECK_FALSE(diff.kendall_tau);
}

TEST_CASE("measures and first parting follow the definitions on random fates", "[analyze][diff]") {
    const Philox random(3, 9);
    std::uint64_t draw = 0;
    const auto next = [&](std::uint32_t bound) { return random.below(draw++, bound); };
    for (int round = 0; round < 1000; ++round) {
        std::vector<Block> blocks;
        Position tokens = 0;
        for (std::uint32_t block = 1 + next(5); block > 0; --block) {
            const Position end = tokens + 1 + static_cast<Position>(next(6));
            blocks.push_back({tokens, end, false});
            tokens = end;
        }
        const auto fate = [&] {
            std::vector<std::int32_t> evicted;
            for (Position token = 0; token < tokens; ++token)
                evicted.push_back(
                    static_cast<std::int32_t>(next(static_cast<std::uint32_t>(blocks.size()) + 2)) -
                    1);
            for (std::int32_t& one : evicted)
                one = one >= std::ssize(blocks) ? -1 : one;
            return OwnedFate(evicted, blocks);
        };
        const OwnedFate a = fate(), b = next(4) == 0 ? a : fate();
        const std::size_t last = next(static_cast<std::uint32_t>(blocks.size()));
        const HeadDiff diff = compare_heads(a.view(), b.view(), blocks[last].end, {});
        INFO(round);
        CHECK(diff.kept.jaccard() == naive_jaccard(kept_after(a, last), kept_after(b, last)));
        std::optional<Position> parted;
        for (std::size_t block = 0; block < blocks.size() && !parted; ++block)
            if (kept_after(a, block) != kept_after(b, block)) {
                parted = blocks[block].end;
                CHECK(diff.part_block_a == static_cast<std::int32_t>(block));
                CHECK(diff.part_block_b == static_cast<std::int32_t>(block));
            }
        CHECK(diff.part_at == parted);
        CHECK(diff.identical() == !parted.has_value());
    }
}

TEST_CASE("blocks that are cut differently are compared by tokens", "[analyze][diff]") {
    const OwnedFate whole({0, -1, 0, -1, -1, -1}, {{0, 4, false}, {4, 6, false}});
    const OwnedFate halves({1, -1, 1, -1, -1, -1}, {{0, 2, false}, {2, 4, false}, {4, 6, false}});
    CHECK(compare_heads(whole.view(), halves.view(), 6, {}).identical());
    const OwnedFate early({0, -1, 1, -1, -1, -1}, halves.blocks);
    const HeadDiff diff = compare_heads(whole.view(), early.view(), 6, {});
    CHECK(diff.kept.jaccard() == 1.0);
    CHECK(diff.part_at == 2);
    CHECK(diff.part_block_a == 0);
    CHECK(diff.part_block_b == 0);
    CHECK_FALSE(diff.identical());
}

TEST_CASE("an exchange inside a tie at the cut counts as identical, with scores only",
          "[analyze][diff]") {
    OwnedFate a({-1, -1, 0, 0, 0, -1}, one_block), b({-1, 0, 0, -1, 0, -1}, one_block);
    const float rule = std::numeric_limits<float>::infinity();
    CHECK_FALSE(compare_heads(a.view(), b.view(), 6, {}).identical());
    a.scores = b.scores = {5, 2, 1, 2, 2, rule};
    const HeadDiff tied = compare_heads(a.view(), b.view(), 6, {});
    CHECK(tied.tie_only);
    CHECK(tied.identical());
    CHECK(tied.kept.jaccard() == 2.0 / 4.0);

    SECTION("other scores in the exchange are no tie") {
        b.scores[3] = 3;
        CHECK_FALSE(compare_heads(a.view(), b.view(), 6, {}).identical());
    }
    SECTION("a tie above the cut is no tie at the cut") {
        a.scores[0] = b.scores[0] = 1;
        CHECK_FALSE(compare_heads(a.view(), b.view(), 6, {}).identical());
    }
    SECTION("keeping more of a tie is a difference") {
        b.evicted_at[4] = -1;
        CHECK_FALSE(compare_heads(a.view(), b.view(), 6, {}).identical());
    }
    SECTION("scores on one side do not do") {
        b.scores.clear();
        CHECK_FALSE(compare_heads(a.view(), b.view(), 6, {}).identical());
    }
    SECTION("a merge outside of the tie is a difference") {
        b.merged_into[2] = 0;
        const HeadDiff merged = compare_heads(a.view(), b.view(), 6, {});
        CHECK(merged.merged_differently == 1);
        CHECK_FALSE(merged.identical());
    }
}

TEST_CASE("merges alone make a difference", "[analyze][diff]") {
    const OwnedFate a({-1, 0, -1, 0, -1, -1}, one_block);
    OwnedFate b = a;
    b.merged_into[1] = 2;
    const HeadDiff diff = compare_heads(a.view(), b.view(), 6, {});
    CHECK(diff.merged_differently == 1);
    CHECK_FALSE(diff.part_at);
    CHECK_FALSE(diff.identical());
}

TEST_CASE("two empty sets are alike, one empty set is like nothing", "[analyze][diff]") {
    const OwnedFate none({0, 0, 0, 0, 0, 0}, one_block), some({0, -1, 0, 0, 0, 0}, one_block);
    CHECK(compare_heads(none.view(), none.view(), 6, {}).kept.jaccard() == 1.0);
    CHECK(compare_heads(none.view(), none.view(), 6, {}).kept.overlap() == 1.0);
    CHECK(compare_heads(none.view(), some.view(), 6, {}).kept.jaccard() == 0.0);
    CHECK(compare_heads(none.view(), some.view(), 6, {}).kept.overlap() == 0.0);
}
