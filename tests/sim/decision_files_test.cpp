#include "core/json.hpp"
#include "sim/results.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// A decision file of ours for one spec over a golden trace.
std::shared_ptr<const DecisionFile> decided(const Folder& folder,
                                            const Trace& trace,
                                            const std::string& spec,
                                            const std::string& budget) {
    ResultDirectory directory(folder / "out", trace);
    const std::vector<PolicyRun> policies = make_policies({spec});
    const ReplayTask task{.policy = &policies[0], .budgets = parse_budgets(budget)};
    ReplayRequest request = request_for(trace);
    request.scores = StoreScores::yes;
    replay_into(
        directory, request, std::span(&task, 1), "kvtape test", [](std::int64_t, std::int64_t) {});
    return directory.results().at(0).decisions;
}

/// Equal to 1e-5, with infinities and NaN in the same places.
bool agree(float a, float b) {
    if (std::isnan(a) || std::isnan(b))
        return std::isnan(a) && std::isnan(b);
    if (std::isinf(a) || std::isinf(b))
        return a == b;
    return std::abs(a - b) <= 1e-5F * std::max(std::abs(a), std::abs(b));
}

bool same_block(const Block& a, const Block& b) {
    return a.begin == b.begin && a.end == b.end && a.decoding == b.decoding;
}

}  // namespace

TEST_CASE("a decision file of snapkv is what another program wrote", "[sim][golden]") {
    const Folder folder;
    const auto trace = open_trace(golden("small-float32.kvtape.h5"));
    const auto expected =
        open_decisions(golden("small-float32.snapkv-window-32-kernel-7@0.25.decisions.h5"));
    const auto ours = decided(folder, *trace, "snapkv:window=32,kernel=7", "0.25");
    // That file holds only the parameters its spec names.
    const Json parameters = Json::parse(ours->info().parameters);
    const Json named = Json::parse(expected->info().parameters);
    for (const auto& [name, value] : named.items())
        CHECK(parameters.at(name) == value);
    CHECK(ours->info().policy == expected->info().policy);
    CHECK(ours->info().trace_fingerprint == expected->info().trace_fingerprint);
    CHECK(ours->info().budget == expected->info().budget);
    CHECK(ours->info().schedule == expected->info().schedule);
    CHECK(ours->info().query_source == expected->info().query_source);
    CHECK(ours->info().loop == expected->info().loop);
    REQUIRE(ours->sequences() == expected->sequences());
    for (std::int32_t s = 0; s < expected->sequences(); ++s) {
        const DecisionSequence &mine = ours->sequence(s), &theirs = expected->sequence(s);
        CHECK(mine.name == theirs.name);
        CHECK(mine.kept_tokens == theirs.kept_tokens);
        CHECK(mine.kept_bytes == theirs.kept_bytes);
        CHECK(mine.full_bytes == theirs.full_bytes);
        CHECK(std::equal(mine.blocks.begin(),
                         mine.blocks.end(),
                         theirs.blocks.begin(),
                         theirs.blocks.end(),
                         same_block));
        REQUIRE(ours->layers(s) == expected->layers(s));
        for (const std::int32_t layer : expected->layers(s)) {
            const LayerFate a = ours->load(s, layer), b = expected->load(s, layer);
            CHECK(a.evicted_at == b.evicted_at);
            CHECK(a.merged_into == b.merged_into);
            REQUIRE(a.scores.size() == b.scores.size());
            int differing = 0;
            for (std::size_t i = 0; i < b.scores.size(); ++i)
                differing += agree(a.scores[i], b.scores[i]) ? 0 : 1;
            CHECK(differing == 0);
        }
    }
}

TEST_CASE("a decision file of ems is what another program wrote, and holds the merged rows",
          "[sim][golden]") {
    const Folder folder;
    const auto trace = open_trace(golden("small-float32.kvtape.h5"));
    const auto expected = open_decisions(golden("small-float32.ems@0.1.decisions.h5"));
    const auto ours = decided(folder, *trace, "ems", "0.1");
    CHECK(ours->info().policy == expected->info().policy);
    CHECK(ours->info().budget == expected->info().budget);
    CHECK(ours->sequence(0).kept_tokens == expected->sequence(0).kept_tokens);
    CHECK(ours->sequence(0).kept_bytes == expected->sequence(0).kept_bytes);
    for (const std::int32_t layer : expected->layers(0)) {
        const LayerFate a = ours->load(0, layer), b = expected->load(0, layer);
        CHECK(a.evicted_at == b.evicted_at);
        CHECK(a.merged_into == b.merged_into);
        REQUIRE(a.scores.size() == b.scores.size());
        int differing = 0;
        // That file shows the score of the window too, which stays by rule.
        for (std::size_t i = 0; i < b.scores.size(); ++i)
            differing += agree(a.scores[i], b.scores[i]) || std::isinf(a.scores[i]) ? 0 : 1;
        CHECK(differing == 0);
        CHECK_FALSE(a.merged.entries.empty());
        CHECK(b.merged.entries.empty());
    }
}

TEST_CASE("lagkv takes the first decision that another program took", "[sim][golden]") {
    const Folder folder;
    const auto trace = open_trace(golden("two-sequences-float32.kvtape.h5"));
    // That file goes on to evict while decoding; what left at the end of the context is block 0.
    const auto expected =
        open_decisions(golden("two-sequences-float32.lagkv-lag-32@0.25.decisions.h5"));
    const auto ours = decided(folder, *trace, "lagkv:lag=32", "0.25");
    REQUIRE(ours->sequences() == expected->sequences());
    for (std::int32_t s = 0; s < expected->sequences(); ++s) {
        CHECK(ours->sequence(s).name == expected->sequence(s).name);
        REQUIRE(same_block(ours->sequence(s).blocks[0], expected->sequence(s).blocks[0]));
        REQUIRE(ours->layers(s) == expected->layers(s));
        for (const std::int32_t layer : expected->layers(s)) {
            const LayerFate mine = ours->load(s, layer), theirs = expected->load(s, layer);
            REQUIRE(mine.evicted_at.size() == theirs.evicted_at.size());
            int differing = 0, evicted = 0;
            for (std::size_t i = 0; i < theirs.evicted_at.size(); ++i) {
                differing += (mine.evicted_at[i] == 0) != (theirs.evicted_at[i] == 0) ? 1 : 0;
                evicted += mine.evicted_at[i] == 0 ? 1 : 0;
            }
            CHECK(differing == 0);
            CHECK(evicted > 0);
        }
    }
}

TEST_CASE("a decision file that does not fit the trace it names is refused and left alone",
          "[sim][results]") {
    const auto trace = open_trace(golden("small-float32.kvtape.h5"));
    const Shape& shape = trace->info().shape;
    const Position length = trace->sequence(0).length();
    const Folder folder;
    const auto path = folder / "knorm@0.25.prefill.agnostic.decisions.h5";
    const auto write = [&](DecisionSequence about, std::int32_t layer, std::int32_t kv_heads) {
        std::filesystem::remove(path);
        const Position tokens = about.blocks.back().end;
        const auto count = static_cast<std::size_t>(kv_heads * tokens);
        DecisionWriter writer(path,
                              {.producer = "kvtape test",
                               .trace_fingerprint = trace->info().fingerprint,
                               .policy = "knorm",
                               .parameters = "{}",
                               .budget = "0.25",
                               .schedule = "prefill",
                               .query_source = "agnostic",
                               .loop = "replay",
                               .fingerprint = {},
                               .seed = 0});
        writer.begin_sequence(about, kv_heads, tokens);
        writer.write_layer(layer,
                           {.evicted_at = std::vector<std::int32_t>(count, -1),
                            .merged_into = std::vector<std::int32_t>(count, -1),
                            .scores = {}});
        writer.end_sequence();
        writer.finish();
    };
    const auto refused = [&] {
        const std::string before = bytes_of_file(path);
        const std::string message =
            refusal(ErrorKind::format, [&] { ResultDirectory(folder.path(), *trace); });
        CHECK(mentions(message, path.string()));
        CHECK(message.find('\n') == std::string::npos);
        CHECK(bytes_of_file(path) == before);
        return message;
    };
    const DecisionSequence fitting{.name = "0000", .blocks = Schedule().blocks(trace->sequence(0))};
    write(fitting, 0, shape.kv_heads);
    CHECK(ResultDirectory(folder.path(), *trace).results().size() == 1);

    DecisionSequence other = fitting;
    other.name = "0007";
    write(other, 0, shape.kv_heads);
    CHECK(mentions(refused(), "0007 is not in the trace"));
    write(fitting, shape.layers, shape.kv_heads);
    CHECK(mentions(refused(), "more than " + std::to_string(shape.layers)));
    write(fitting, 0, shape.kv_heads + 1);
    CHECK(mentions(refused(), "has arrays of " + std::to_string(shape.kv_heads + 1) + "x"));
    other = fitting;
    other.blocks.pop_back();
    write(other, 0, shape.kv_heads);
    CHECK(mentions(refused(), "x" + std::to_string(length - 1)));
    other.blocks = {{0, length, false}};
    write(other, 0, shape.kv_heads);
    CHECK(mentions(refused(), "other blocks than its schedule"));
}
