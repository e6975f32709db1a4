#include "tests/support/golden.hpp"

#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/query_source.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <memory>
#include <set>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// Whether this test can feed the policy: the whole context at once.
bool is_judged(const GoldenCase& golden) {
    if (golden.schedule != "prefill" || !is_known(golden.policy))
        return false;
    const Needs needs = make_policy(golden.policy).policy->needs();
    return needs.block == 0 && !needs.statistics;
}

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
    std::set<std::string> seen;
    for (std::int32_t sequence = 0; sequence < trace->sequences(); ++sequence) {
        const std::vector<Layer> layers = load_layers(*trace, sequence);
        for (const GoldenCase& golden : cases) {
            const auto expected = golden.sequences.find(trace->sequence(sequence).name);
            if (!is_judged(golden) || expected == golden.sequences.end())
                continue;
            INFO(name << " " << expected->first << ": " << golden.policy << " at "
                      << golden.budget);
            compare(golden, expected->second, layers);
            seen.insert(parse_spec(golden.policy).name);
        }
    }
    for (const std::string policy : {"h2o", "knorm", "lagkv", "oracle", "snapkv", "tova"})
        CHECK(seen.contains(policy));
}
