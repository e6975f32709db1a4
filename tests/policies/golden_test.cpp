#include "tests/support/golden.hpp"

#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/query_source.hpp"
#include "trace/reader.hpp"

#include <map>
#include <memory>
#include <string>
#include <string_view>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// Whether this test can feed the policy: the whole context at once. Replay judges the others.
bool is_judged(const GoldenCase& golden) {
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

/// Returns how many heads were judged.
int compare(const GoldenCase& golden,
            const std::vector<std::vector<GoldenHead>>& expected,
            const std::vector<Layer>& layers) {
    const PolicyRun run = make_policy(golden.policy);
    const Limit limit = limit_of(golden.budget, layers[0].context_len, layers[0].shape);
    const Decision decision =
        decide(*run.policy, layers, limit, {.source = source_named(golden.query_source)});
    int judged = 0;
    for (std::int32_t layer = 0; layer < decision.layers(); ++layer)
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            INFO("layer " << layer << ", KV head " << head);
            const GoldenHead& wanted =
                expected[static_cast<std::size_t>(layer)][static_cast<std::size_t>(head)];
            CHECK(disagreement(wanted, decision[{layer, head}]) == "");
            judged += wanted.uncertain ? 0 : 1;
        }
    return judged;
}

}  // namespace

TEST_CASE("decisions equal those of the published programs on the golden traces",
          "[policies][golden]") {
    // All heads but those of laser_kv and over expected_attention.
    const std::map<std::string_view, int> heads = {{"degenerate-float32", 108},
                                                   {"grouped-bfloat16", 344},
                                                   {"long-float16", 336},
                                                   {"small-float32", 344},
                                                   {"two-sequences-float32", 1376}};
    for (const GoldenTrace& golden_trace : golden_traces) {
        const std::string path =
            KVTAPE_SOURCE_DIR "/tests/golden/" + std::string(golden_trace.name);
        const std::unique_ptr<const Trace> trace = open_trace(path + ".kvtape.h5");
        const std::vector<GoldenCase> cases = golden_cases(path + ".json");
        int judged = 0;
        for (std::int32_t sequence = 0; sequence < trace->sequences(); ++sequence) {
            const std::vector<Layer> layers = load_layers(*trace, sequence);
            for (const GoldenCase& golden : cases) {
                const auto expected = golden.sequences.find(trace->sequence(sequence).name);
                if (expected == golden.sequences.end() || !is_judged(golden))
                    continue;
                INFO(golden_trace.name << " " << expected->first << ": " << golden.policy << " at "
                                       << golden.budget << " (" << golden.authority << ")");
                judged += compare(golden, expected->second, layers);
            }
        }
        INFO(golden_trace.name);
        CHECK(judged == heads.at(golden_trace.name));
    }
}
