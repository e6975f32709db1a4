#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/trace/samples.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// A decision file of tests/golden: how to take its decisions, and how many fates it holds.
struct GoldenDecisions {
    std::string trace;
    std::string spec;
    std::size_t fates = 0;  ///< of all heads, layers and sequences
};

/// By file name.
const std::map<std::string, GoldenDecisions>& decision_files() {
    static const std::map<std::string, GoldenDecisions> files = {
        {"small-float32.ems@0.1.decisions.h5", {"small-float32", "ems", 2 * 2 * 744}},
        {"small-float32.snapkv-window-32-kernel-7@0.25.decisions.h5",
         {"small-float32", "snapkv:window=32,kernel=7", 2 * 2 * 744}},
        {"two-sequences-float32.lagkv-lag-32@0.25.decisions.h5",
         {"two-sequences-float32", "lagkv:lag=32", 2 * 4 * (612 + 553)}}};
    return files;
}

/// Where every token went; a policy that never merges may leave that out.
std::vector<std::int32_t> merged(const LayerFate& fate) {
    return fate.merged_into.empty() ? std::vector<std::int32_t>(fate.evicted_at.size(), -1)
                                    : fate.merged_into;
}

/// The files that tests compare, or that say what the others are.
std::set<std::string> claimed() {
    // The projection: tests/policies/lsh_test.cpp.
    std::set<std::string> names = {"README.md", "projection-D16-bits10-tables8-seed0.json"};
    // Compared case by case: replay_test.cpp and schedules_test.cpp.
    for (const testing::GoldenTrace& trace : testing::golden_traces)
        for (const std::string ending : {".kvtape.h5", ".json"})
            names.insert(std::string(trace.name) + ending);
    // Compared below.
    for (const auto& [name, decisions] : decision_files())
        names.insert(name);
    return names;
}

}  // namespace

TEST_CASE("every golden file is compared by a test", "[sim][golden]") {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(golden("")))
        found.insert(entry.path().filename().string());
    CHECK(found == claimed());
}

TEST_CASE("every golden decision file holds what replay decides, block by block", "[sim][golden]") {
    for (const auto& [name, decisions] : decision_files()) {
        INFO(name);
        const auto expected = open_decisions(golden(name));
        const auto trace = open_trace(golden(decisions.trace + ".kvtape.h5"));
        CHECK(expected->info().trace_fingerprint == trace->info().fingerprint);
        CHECK(expected->info().policy == parse_spec(decisions.spec).name);
        CHECK(expected->info().query_source == "agnostic");
        REQUIRE(expected->sequences() == trace->sequences());
        const auto found =
            fates(*trace, decisions.spec, expected->info().budget, expected->info().schedule);
        std::size_t compared = 0;
        for (std::int32_t s = 0; s < expected->sequences(); ++s)
            for (const std::int32_t layer : expected->layers(s)) {
                INFO("sequence " << s << ", layer " << layer);
                const LayerFate theirs = expected->load(s, layer);
                const LayerFate& ours =
                    found.at(static_cast<std::size_t>(s)).at(static_cast<std::size_t>(layer));
                CHECK((ours.evicted_at == theirs.evicted_at));
                CHECK((merged(ours) == merged(theirs)));
                compared += theirs.evicted_at.size();
            }
        CHECK(compared == decisions.fates);
    }
}

TEST_CASE("where our decisions differ from a program on purpose, that paragraph is what differs",
          "[sim][golden]") {
    int judged = 0;
    for (const testing::GoldenTrace& golden_trace : testing::golden_traces) {
        const std::string name(golden_trace.name);
        const auto trace = open_trace(golden(name + ".kvtape.h5"));
        for (const auto& entry : testing::golden_cases(golden(name + ".json").string())) {
            // seeds.md 3.4: the program drops what came before a short last block.
            if (entry.authority.find("short last block") == std::string::npos)
                continue;
            INFO(name << ": " << entry.policy << " at " << entry.budget);
            ReplayRequest request = request_for(*trace);
            request.sequences = {0};
            request.source = QuerySource::question;
            request.seed = entry.seed;
            const auto decided = decide(
                request, make_policies({entry.policy + ",short_block=reference"}), entry.budget);
            REQUIRE(decided.size() == 1);
            const auto& kept = decided.begin()->second[{0, 0}];
            CHECK(testing::disagreement(entry.sequences.begin()->second[0][0], kept) != "");
            ++judged;
        }
    }
    CHECK(judged == 6);
}
