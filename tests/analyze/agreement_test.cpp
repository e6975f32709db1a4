#include "analyze/agreement.hpp"

#include "tests/support/catch.hpp"

#include <vector>

using namespace kvtape;

namespace {

const std::vector<Block> blocks = {{0, 4, false}, {4, 6, false}, {6, 7, true}};

HeadFate fate(const std::vector<std::int32_t>& evicted_at) {
    return {.evicted_at = evicted_at, .merged_into = {}, .scores = {}, .blocks = blocks};
}

}  // namespace

TEST_CASE("agreement counts what both keep at the end of every block", "[analyze][agreement]") {
    //                                    0   1  2   3  4   5   6
    const std::vector<std::int32_t> a = {-1, 0, 1, -1, 2, -1, -1};
    const std::vector<std::int32_t> b = {-1, 1, 0, -1, 2, -1, -1};
    const std::vector<SetSizes> sizes = agreement(fate(a), fate(b), blocks);
    REQUIRE(sizes.size() == 3);
    // After block 0: a holds 0 2 3, b holds 0 1 3.
    CHECK(sizes[0].a == 3);
    CHECK(sizes[0].b == 3);
    CHECK(sizes[0].both == 2);
    CHECK(sizes[0].jaccard() == 0.5);
    // After block 1: both hold 0 3 4 5.
    CHECK(sizes[1].both == 4);
    CHECK(sizes[1].jaccard() == 1.0);
    // After the token: both hold 0 3 5 6.
    CHECK(sizes[2].a == 4);
    CHECK(sizes[2].both == 4);
}

TEST_CASE("the first difference is the earliest token that one side lacks",
          "[analyze][agreement]") {
    const std::vector<std::int32_t> a = {-1, 0, 1, -1, 2, -1, -1};
    const std::vector<std::int32_t> b = {-1, 1, 0, -1, 2, -1, -1};
    CHECK(first_difference(fate(a), fate(b), blocks, 0) == 1);
    CHECK_FALSE(first_difference(fate(a), fate(b), blocks, 1).has_value());
}

TEST_CASE("runs that ended elsewhere are compared over the blocks they share",
          "[analyze][agreement]") {
    const std::vector<Block> shorter(blocks.begin(), blocks.begin() + 2);
    CHECK(common_blocks(blocks, shorter) == shorter);
    const std::vector<Block> other = {{0, 4, false}, {4, 7, false}};
    CHECK(common_blocks(blocks, other).size() == 1);
    const std::vector<std::int32_t> a = {-1, 0, -1, -1, -1, -1, -1}, b = {-1, 0, -1, -1, -1, -1};
    const std::vector<SetSizes> sizes = agreement(fate(a), fate(b), shorter);
    CHECK(sizes.back().both == 5);
    CHECK(sizes.back().a == sizes.back().b);
}
