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
    replay_into(directory,
                request_for(trace),
                std::span(&task, 1),
                StoreScores::yes,
                "kvtape test",
                [](std::int64_t, std::int64_t) {});
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
