#include "sim/rope.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "trace/reader.hpp"

#include <cmath>
#include <map>

using namespace kvtape;
using namespace kvtape::tests;

TEST_CASE("while decoding, sinks are turned along with the tokens that go", "[sim][rerotate]") {
    const auto trace = open_trace(KVTAPE_SOURCE_DIR "/tests/golden/small-float32.kvtape.h5");
    const auto plain = fates(*trace, "streaming_llm:sinks=2", "16t", "prefill+decode");
    const auto found = fates(*trace, "rerotate(streaming_llm:sinks=2)", "16t", "prefill+decode");
    const TraceInfo& info = trace->info();
    const std::vector<double> inv_freq = rotation_of(info).inv_freq;
    const auto dim = static_cast<std::size_t>(info.shape.head_dim);
    const SequenceInfo& sequence = trace->sequence(0);
    REQUIRE(sequence.generated() > 1);
    for (std::int32_t layer = 0; layer < info.shape.layers; ++layer) {
        const LayerFate& fate = found[0][static_cast<std::size_t>(layer)];
        REQUIRE(fate.evicted_at == plain[0][static_cast<std::size_t>(layer)].evicted_at);
        // What is written last counts.
        std::map<std::pair<std::int32_t, Position>, std::size_t> last;
        for (std::size_t i = 0; i < fate.merged.entries.size(); ++i)
            last[{fate.merged.entries[i].kv_head, fate.merged.entries[i].position}] = i;
        LayerData data;
        trace->load(0, layer, {.keys = true}, data);
        for (std::int32_t head = 0; head < info.shape.kv_heads; ++head)
            for (Position sink = 0; sink < 2; ++sink) {
                REQUIRE(last.count({head, sink}) == 1);
                const float* key = fate.merged.keys.data() + last[{head, sink}] * dim;
                const std::int64_t at = std::int64_t{head} * sequence.length() + sink;
                const float* before = data.keys.data() + at * info.shape.head_dim;
                // Sixteen are held, so many tokens lie between a sink and its place.
                const double by = static_cast<double>(sequence.length() - 16);
                const std::size_t pairs = inv_freq.size();
                for (std::size_t i = 0; i < pairs; ++i) {
                    const double angle = by * inv_freq[i];
                    const double x = static_cast<double>(before[i]);
                    const double y = static_cast<double>(before[i + pairs]);
                    CHECK(static_cast<double>(key[i]) ==
                          Approx(x * std::cos(angle) - y * std::sin(angle)).margin(1e-4));
                    CHECK(static_cast<double>(key[i + pairs]) ==
                          Approx(x * std::sin(angle) + y * std::cos(angle)).margin(1e-4));
                }
            }
    }
}
