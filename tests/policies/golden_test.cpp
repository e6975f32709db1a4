#include "tests/support/golden.hpp"

#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/query_source.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

const std::set<std::string> judged{"adakv",
                                   "full",
                                   "h2o",
                                   "keydiff",
                                   "knorm",
                                   "lagkv",
                                   "observed_attention",
                                   "oracle",
                                   "pyramidkv",
                                   "snapkv",
                                   "streaming_llm",
                                   "tova"};

/// Decisions judged, by policy.
using Counts = std::map<std::string, int>;

/// What the golden files hold for the policies judged, one for each case and sequence.
const std::map<std::string, Counts> expected_counts = {
    {"degenerate-float32",
     {{"h2o", 1}, {"knorm", 4}, {"lagkv", 6}, {"oracle", 1}, {"snapkv", 2}, {"tova", 1}}},
    {"grouped-bfloat16",
     {{"full", 1},
      {"h2o", 3},
      {"knorm", 6},
      {"lagkv", 17},
      {"oracle", 3},
      {"snapkv", 11},
      {"streaming_llm", 5},
      {"tova", 4}}},
    {"long-float16",
     {{"full", 1},
      {"h2o", 3},
      {"knorm", 6},
      {"lagkv", 17},
      {"oracle", 3},
      {"snapkv", 11},
      {"streaming_llm", 5},
      {"tova", 4}}},
    {"small-float32",
     {{"full", 1},
      {"h2o", 3},
      {"knorm", 6},
      {"lagkv", 17},
      {"oracle", 3},
      {"snapkv", 11},
      {"streaming_llm", 5},
      {"tova", 4}}},
    {"two-sequences-float32",
     {{"full", 2},
      {"h2o", 6},
      {"knorm", 12},
      {"lagkv", 34},
      {"oracle", 6},
      {"snapkv", 22},
      {"streaming_llm", 10},
      {"tova", 8}}},
};

std::vector<Layer> load_layers(const Trace& trace, std::int32_t sequence) {
    const SequenceInfo& info = trace.sequence(sequence);
    std::vector<Layer> layers;
    for (std::int32_t number = 0; number < trace.info().shape.layers; ++number) {
        layers.push_back({trace.info().shape,
                          number,
                          info.context_len,
                          info.length(),
                          info.query_positions,
                          {}});
        const LayerParts parts{
            .keys = true, .values = true, .queries = true, .logsumexp = true, .column_sums = true};
        trace.load(sequence, number, parts, layers.back().data);
    }
    return layers;
}

void compare(const GoldenCase& golden,
             const std::vector<std::vector<GoldenHead>>& expected,
             const std::vector<Layer>& layers) {
    const PolicyRun run = make_policy(golden.policy);
    const Limit limit = limit_of(golden.budget, layers[0].context_len, layers[0].shape);
    const Decision decision =
        decide(*run.policy, layers, limit, {.source = source_named(golden.query_source)});
    for (std::int32_t layer = 0; layer < decision.layers(); ++layer)
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            INFO("layer " << layer << ", KV head " << head);
            CHECK(disagreement(
                      expected[static_cast<std::size_t>(layer)][static_cast<std::size_t>(head)],
                      decision[{layer, head}]) == "");
        }
}

}  // namespace

TEST_CASE("decisions equal those of the published programs on the golden traces",
          "[policies][golden]") {
    const std::string name = GENERATE("degenerate-float32",
                                      "grouped-bfloat16",
                                      "long-float16",
                                      "small-float32",
                                      "two-sequences-float32");
    const std::string path = std::string(KVTAPE_SOURCE_DIR "/tests/golden/") + name;
    const std::unique_ptr<const Trace> trace = open_trace(path + ".kvtape.h5");
    const std::vector<GoldenCase> cases = golden_cases(path + ".json");
    Counts seen;
    for (std::int32_t sequence = 0; sequence < trace->sequences(); ++sequence) {
        const std::vector<Layer> layers = load_layers(*trace, sequence);
        for (const GoldenCase& golden : cases) {
            const std::string policy = parse_spec(golden.policy).name;
            const auto expected = golden.sequences.find(trace->sequence(sequence).name);
            if (golden.schedule != "prefill" || judged.count(policy) == 0 ||
                expected == golden.sequences.end())
                continue;
            INFO(name << " " << expected->first << ": " << golden.policy << " at "
                      << golden.budget);
            compare(golden, expected->second, layers);
            ++seen[policy];
        }
    }
    CHECK(seen == expected_counts.at(name));
}
