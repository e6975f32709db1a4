#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "trace/reader.hpp"

using namespace kvtape;
using namespace kvtape::tests;

namespace {

std::string refused(const Trace& trace, const std::string& spec, const std::string& schedule) {
    return refusal(ErrorKind::usage, [&] { fates(trace, spec, "50%", schedule); });
}

}  // namespace

TEST_CASE("where keys and values are given, lagkv decides alike before and after a block attends",
          "[sim][lagkv]") {
    const auto trace = open_trace(KVTAPE_SOURCE_DIR "/tests/golden/" +
                                  std::string(testing::golden_traces[0].name) + ".kvtape.h5");
    for (const char* schedule : {"block:16", "block:7", "block:16+decode"}) {
        const auto after = fates(*trace, "lagkv:lag=16,sinks=4", "50%", schedule);
        const auto ahead =
            fates(*trace, "lagkv:lag=16,sinks=4,use_then_compress=0", "50%", schedule);
        REQUIRE(after.size() == ahead.size());
        for (std::size_t sequence = 0; sequence < after.size(); ++sequence)
            for (std::size_t layer = 0; layer < after[sequence].size(); ++layer)
                CHECK(ahead[sequence][layer].evicted_at == after[sequence][layer].evicted_at);
    }
}

TEST_CASE("a policy that decides before a block attends names the blocks it can take",
          "[sim][lagkv]") {
    const auto trace = open_trace(KVTAPE_SOURCE_DIR "/tests/golden/" +
                                  std::string(testing::golden_traces[0].name) + ".kvtape.h5");
    const std::string spec = "lagkv:lag=16,use_then_compress=0";
    CHECK(mentions(refused(*trace, spec, "prefill"), "block:N with N at most 16"));
    CHECK(mentions(refused(*trace, spec, "prompt+decode"), "block:N with N at most 16"));
    CHECK(mentions(refused(*trace, spec, "block:17"),
                   "the block of tokens 0..16 is longer than the 16"));
}
