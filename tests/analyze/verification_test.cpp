#include "analyze/verification.hpp"

#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"

#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// Eight tokens of one head in two blocks of the prompt, and a token that was generated.
std::shared_ptr<const DecisionFile> decisions(const std::filesystem::path& path,
                                              const std::vector<std::int32_t>& evicted_at,
                                              const std::vector<float>& scores) {
    DecisionWriter writer(path,
                          {.producer = "kvtape test",
                           .trace_fingerprint = std::string(32, '0'),
                           .policy = "tova",
                           .parameters = "{}",
                           .budget = "50%",
                           .schedule = "block:4",
                           .query_source = "agnostic",
                           .loop = "replay",
                           .fingerprint = {}});
    writer.begin_sequence({.name = "0000",
                           .kept_tokens = 4,
                           .kept_bytes = 4,
                           .full_bytes = 9,
                           .blocks = {{0, 4, false}, {4, 8, false}, {8, 9, true}}},
                          1,
                          9);
    writer.write_layer(0, {.evicted_at = evicted_at, .merged_into = {}, .scores = scores});
    writer.end_sequence();
    writer.finish();
    return open_decisions(path);
}

ResultPair pair_of(std::shared_ptr<const DecisionFile> a, std::shared_ptr<const DecisionFile> b) {
    return {.policy = "tova",
            .parameters = "{}",
            .budget = "50%",
            .schedule = "block:4",
            .query_source = "agnostic",
            .a = std::move(a),
            .b = std::move(b)};
}

}  // namespace

TEST_CASE("two runs are compared behind the blocks that the schedule decides behind",
          "[analyze][verification]") {
    const Folder scratch;
    const std::vector<std::int32_t> fate = {-1, 0, 0, -1, 1, 1, -1, -1, -1};
    const std::vector<float> scores(9, 1.0f);
    const auto a = decisions(scratch / "a.h5", fate, scores);
    const PairAgreement found = agreement_of(pair_of(a, a));
    CHECK(found.identical);
    CHECK(found.jaccard == 1.0);
    CHECK(found.blocks.at("0000") == std::vector<Block>{{0, 4, false}, {4, 8, false}});
    REQUIRE(found.heads.size() == 1);
    CHECK_FALSE(found.heads[0].parting_block.has_value());
}

TEST_CASE("where two runs part, the gap is that of the token dropped, in units of the noise there",
          "[analyze][verification]") {
    const Folder scratch;
    // Behind block 1 both drop 1 and 5, one drops 4 besides and the other 6. Token 3 left earlier,
    // with scores of another decision.
    const auto a = decisions(scratch / "a.h5",
                             {-1, 1, -1, 0, 1, 1, -1, -1, -1},
                             {9.0f, 2.0f, 8.0f, 100.0f, 4.0f, 4.5f, 5.0f, 7.0f, 6.0f});
    const auto b = decisions(scratch / "b.h5",
                             {-1, 1, -1, 0, -1, 1, 1, -1, -1},
                             {9.0f, 2.25f, 8.0f, 0.0f, 4.75f, 4.5f, 4.5f, 7.0f, 6.0f});
    const PairAgreement found = agreement_of(pair_of(a, b));
    CHECK_FALSE(found.identical);
    const HeadAgreement& head = found.heads.at(0);
    CHECK(head.parting_block == 1);
    CHECK(head.parting_token == 4);
    // `a` dropped it at 4.0, half a point below its border 4.5; tokens 1 and 5 moved by 0.25 at
    // most.
    CHECK(head.score_gap == 2.0);
    // Behind block 0 both hold three; behind block 1 four each, three of them shared.
    CHECK(head.blocks[0].jaccard() == 1.0);
    CHECK(head.blocks[1].both == 3);
    CHECK(found.jaccard == Approx((1.0 + 3.0 / 5.0) / 2.0));
    CHECK(found.least == 3.0 / 5.0);
}
