#include "analyze/decision_diff.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"

using namespace kvtape;
using namespace kvtape::tests;
using Catch::Matchers::Contains;

namespace {

/// What a hand-made decision file holds: 2 KV heads, 20 tokens, context 12, prompt 16.
struct Sample {
    std::string trace = "0123456789abcdef0123456789abcdef";
    std::string schedule = "prefill";
    std::string loop = "replay";
    std::vector<std::string> sequences = {"0000", "0001"};
    std::vector<std::int32_t> layers = {0, 1};
    std::int32_t kv_heads = 2;
    Position tokens = 20;
    Position dropped = 6;  ///< positions below leave at the first block's end
};

std::unique_ptr<const DecisionFile> written(const std::filesystem::path& path,
                                            const Sample& sample) {
    DecisionWriter writer(path,
                          {.producer = "kvtape test",
                           .trace_fingerprint = sample.trace,
                           .policy = "sample",
                           .parameters = "{}",
                           .budget = "25%",
                           .schedule = sample.schedule,
                           .query_source = "agnostic",
                           .loop = sample.loop,
                           .fingerprint = {}});
    for (const std::string& name : sample.sequences) {
        writer.begin_sequence(
            {.name = name, .blocks = {{0, 12, false}, {12, 16, false}, {16, sample.tokens, true}}},
            sample.kv_heads,
            sample.tokens);
        for (const std::int32_t layer : sample.layers) {
            const auto count = static_cast<std::size_t>(sample.kv_heads * sample.tokens);
            LayerFate fate{.evicted_at = std::vector<std::int32_t>(count, -1),
                           .merged_into = std::vector<std::int32_t>(count, -1),
                           .scores = {}};
            for (std::size_t i = 0; i < count; ++i)
                if (static_cast<Position>(i) % sample.tokens < sample.dropped)
                    fate.evicted_at[i] = 0;
            writer.write_layer(layer, fate);
        }
        writer.end_sequence();
    }
    writer.finish();
    return open_decisions(path);
}

}  // namespace

TEST_CASE("a file is identical to itself and to its live twin", "[analyze][diff]") {
    const Folder folder;
    Sample sample;
    const auto a = written(folder / "a", sample);
    sample.loop = "live-cuda";
    const auto b = written(folder / "b", sample);
    for (const int threads : {1, 3}) {
        const DecisionDiff diff =
            compare_decisions({.a = a.get(), .b = b.get(), .sequences = {}, .threads = threads});
        CHECK(diff.identical());
        CHECK(diff.jaccard == 1.0);
        CHECK(diff.heads == 8);
        CHECK_FALSE(diff.scores_a);
    }
}

TEST_CASE("two budgets of one policy are compared at the moment of decision", "[analyze][diff]") {
    const Folder folder;
    Sample sample;
    const auto a = written(folder / "a", sample);
    sample.dropped = 9;
    const auto b = written(folder / "b", sample);
    DecisionDiff diff = compare_decisions({.a = a.get(), .b = b.get(), .sequences = {"0001"}});
    REQUIRE(diff.sequences.size() == 1);
    CHECK(diff.sequences[0].moment == 12);
    CHECK(diff.jaccard == 3.0 / 6.0);
    CHECK(diff.overlap == 1.0);
    CHECK(diff.sequences[0].heads[3].only_a == std::vector<TokenRange>{{6, 9}});
    CHECK(diff.sequences[0].heads[3].layer == 1);
    CHECK(diff.sequences[0].heads[3].head == 1);
    CHECK_FALSE(diff.identical());

    sample.schedule = "block:8+decode";
    const auto c = written(folder / "c", sample);
    diff = compare_decisions({.a = a.get(), .b = c.get(), .sequences = {}});
    CHECK(diff.sequences[0].moment == 16);
    CHECK(diff.sequences[0].heads[0].kept.jaccard() == 7.0 / 10.0);
}

TEST_CASE("needles come from the trace", "[analyze][diff]") {
    const Folder folder;
    Sample sample;
    sample.trace = write_sample(folder / "t.kvtape.h5");
    sample.sequences = {"0000"};
    const auto trace = open_trace(folder / "t.kvtape.h5");
    sample.dropped = 2;
    const auto a = written(folder / "a", sample);
    sample.dropped = 4;
    const auto b = written(folder / "b", sample);
    const DecisionDiff diff =
        compare_decisions({.a = a.get(), .b = b.get(), .trace = trace.get(), .sequences = {}});
    CHECK(diff.sequences[0].heads[0].needle_tokens == 3);
    CHECK(diff.sequences[0].heads[0].needle_lost == 1);
    CHECK(diff.sequences[0].heads[0].needle_gained == 0);

    sample.trace = "00000000000000000000000000000000";
    const auto other = written(folder / "o", sample);
    CHECK_THROWS_WITH(
        compare_decisions(
            {.a = other.get(), .b = other.get(), .trace = trace.get(), .sequences = {}}),
        Contains("--trace has the fingerprint"));
}

TEST_CASE("what one file alone holds is reported, and no identity", "[analyze][diff]") {
    const Folder folder;
    Sample sample;
    const auto a = written(folder / "a", sample);
    sample.sequences = {"0001", "0003"};
    sample.layers = {1, 2};
    const auto b = written(folder / "b", sample);
    const DecisionDiff diff = compare_decisions({.a = a.get(), .b = b.get(), .sequences = {}});
    CHECK(diff.sequences_only_a == std::vector<std::string>{"0000"});
    CHECK(diff.sequences_only_b == std::vector<std::string>{"0003"});
    REQUIRE(diff.sequences.size() == 1);
    CHECK(diff.sequences[0].layers_only_a == std::vector<std::int32_t>{0});
    CHECK(diff.sequences[0].layers_only_b == std::vector<std::int32_t>{2});
    CHECK(diff.heads == 2);
    CHECK(diff.heads_identical == 2);
    CHECK_FALSE(diff.identical());
}

TEST_CASE("files that cannot be compared are refused with the reason", "[analyze][diff]") {
    const Folder folder;
    const auto a = written(folder / "a", {});
    const auto refused = [&](const Sample& sample, const char* reason) {
        std::filesystem::remove(folder / "b");
        const auto b = written(folder / "b", sample);
        CHECK_THROWS_WITH(compare_decisions({.a = a.get(), .b = b.get(), .sequences = {}}),
                          Contains(reason));
    };
    Sample sample;
    sample.trace = "ffffffffffffffffffffffffffffffff";
    refused(sample, "A belongs to the trace 0123456789abcdef0123456789abcdef, B to ffff");
    sample = {};
    sample.tokens = 21;
    refused(sample, "sequence 0000 has 20 tokens in A and 21 in B");
    sample = {};
    sample.kv_heads = 4;
    refused(sample, "has 2 KV heads in A and 4 in B");
    sample = {};
    sample.sequences = {"0007"};
    refused(sample, "no layer of any sequence in common");
    CHECK_THROWS_WITH(compare_decisions({.a = a.get(), .b = a.get(), .sequences = {"0009"}}),
                      Contains("neither A nor B has a sequence 0009"));
}

TEST_CASE("golden decision files are compared as data", "[analyze][diff][golden]") {
    const auto ems = open_decisions(golden("small-float32.ems@0.1.decisions.h5"));
    const auto snap =
        open_decisions(golden("small-float32.snapkv-window-32-kernel-7@0.25.decisions.h5"));
    const auto trace = open_trace(golden("small-float32.kvtape.h5"));
    const DecisionDiff same =
        compare_decisions({.a = ems.get(), .b = ems.get(), .trace = trace.get(), .sequences = {}});
    CHECK(same.identical());
    const DecisionDiff diff =
        compare_decisions({.a = ems.get(), .b = snap.get(), .trace = trace.get(), .sequences = {}});
    CHECK_FALSE(diff.identical());
    std::int64_t merged = 0;
    for (const HeadDiff& head : diff.sequences.at(0).heads) {
        merged += head.merged_differently;
        CHECK(head.kept.both + tokens_in(head.only_a) == head.kept.a);
        CHECK(head.kept.both + tokens_in(head.only_b) == head.kept.b);
    }
    CHECK(merged > 0);
    CHECK(diff.jaccard > 0.0);
    CHECK(diff.jaccard < 1.0);
}
