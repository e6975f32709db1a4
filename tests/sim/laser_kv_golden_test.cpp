#include "core/json.hpp"
#include "tests/sim/laser_kv.hpp"
#include "tests/support/golden.hpp"
#include "tests/trace/samples.hpp"
#include "trace/reader.hpp"

#include <fstream>
#include <iterator>
#include <map>
#include <memory>

using namespace kvtape;
using namespace kvtape::tests;
using kvtape::testing::GoldenCase;

namespace {

struct GoldenBudget {
    std::int64_t budget = 0, anchors = 0, window = 0, picks = 0, kept = 0;
};

/// The `laser` entries of a golden file by spec, budget and sequence.
std::map<std::string, GoldenBudget> golden_budgets(const std::string& path) {
    std::ifstream file(path);
    const Json document = parse_json(std::string{std::istreambuf_iterator<char>(file), {}}, path);
    std::map<std::string, GoldenBudget> budgets;
    for (const Json& entry : document.at("cases"))
        for (const auto& [name, sequence] : entry.at("sequences").items())
            if (sequence.contains("laser")) {
                const Json& laser = sequence["laser"];
                budgets[entry["policy"].get<std::string>() + "@" +
                        entry["budget"].get<std::string>() + " " + name] = {laser.at("budget"),
                                                                            laser.at("anchors"),
                                                                            laser.at("window"),
                                                                            laser.at("picks"),
                                                                            laser.at("kept")};
            }
    return budgets;
}

LaserBudget budget_of(const GoldenCase& golden, const SequenceInfo& sequence, const Shape& shape) {
    const Json parameters = make_policy(golden.policy).policy->parameters();
    const Budget budget = Budget::parse(golden.budget);
    return laser_budget(
        parameters.at("mode") == "recursive" ? LaserMode::recursive : LaserMode::accumulate,
        {budget.tokens_of(sequence.context_len, shape), budget.ratio()},
        sequence.context_len,
        parameters.at("block"),
        parameters.at("divisor"));
}

}  // namespace

TEST_CASE("laser_kv decides as the published program did, on every golden trace",
          "[sim][laser_kv][golden]") {
    const std::map<std::string, int> expected = {{"degenerate-float32", 4},
                                                 {"grouped-bfloat16", 18},
                                                 {"long-float16", 18},
                                                 {"small-float32", 18},
                                                 {"two-sequences-float32", 18}};
    for (const auto& [name, count] : expected) {
        const auto trace = open_trace(golden(name + ".kvtape.h5"));
        const std::string path = golden(name + ".json").string();
        const auto budgets = golden_budgets(path);
        int judged = 0;
        for (const GoldenCase& entry : testing::golden_cases(path)) {
            if (parse_spec(entry.policy).name != "laser_kv")
                continue;
            REQUIRE(entry.schedule == "prefill");
            REQUIRE(entry.query_source == "question");
            REQUIRE(entry.sequences.size() == 1);
            INFO(name << ": " << entry.policy << " at " << entry.budget);
            ReplayRequest request = first_sequence(*trace);
            request.seed = entry.seed;
            REQUIRE(entry.sequences.count(trace->sequence(0).name) == 1);
            const Decision kept = replayed(request, entry.policy, entry.budget).at(0);
            const auto& heads = entry.sequences.begin()->second;
            for (std::size_t layer = 0; layer < heads.size(); ++layer)
                for (std::size_t head = 0; head < heads[layer].size(); ++head)
                    CHECK(testing::disagreement(heads[layer][head],
                                                kept[{static_cast<std::int32_t>(layer),
                                                      static_cast<std::int32_t>(head)}]) == "");
            const GoldenBudget& laser = budgets.at(entry.policy + "@" + entry.budget + " " +
                                                   entry.sequences.begin()->first);
            const LaserBudget ours = budget_of(entry, trace->sequence(0), trace->info().shape);
            CHECK(ours.block_budget == laser.budget);
            CHECK(ours.anchors == laser.anchors);
            CHECK(ours.window == laser.window);
            CHECK(ours.picks == laser.picks);
            CHECK(std::ssize(common(kept)) == laser.kept);
            ++judged;
        }
        CHECK(judged == count);
    }
}
