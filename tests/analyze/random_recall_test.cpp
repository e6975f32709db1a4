#include "policies/spec.hpp"
#include "sim/held_state.hpp"
#include "sim/metrics/needle.hpp"
#include "sim/replay.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <cmath>
#include <numeric>

using namespace kvtape;

TEST_CASE("the expected recall of the policy random is the share that it keeps",
          "[analyze][random]") {
    const SyntheticTrace trace({});
    const PolicyRun policy = make_policy("random");
    constexpr std::uint64_t seeds = 300;
    constexpr Position keep = 27;
    double recall = 0.0, heads = 0.0;
    const auto needle = static_cast<double>(needle_positions(trace.sequence(0)).size());
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
        ReplayRequest request{.trace = &trace,
                              .schedule = Schedule::parse("prefill"),
                              .sequences = {0, 1},
                              .layers = {0, 1},
                              .seed = seed};
        const std::vector<ReplayTask> tasks = {
            {.policy = &policy, .budgets = {Budget::parse("27t")}}};
        replay(request, tasks, [&](const Decided& decided) {
            const SequenceInfo& sequence = trace.sequence(decided.sequence);
            const auto tokens = static_cast<std::size_t>(sequence.length());
            for (std::size_t layer = 0; layer < 2; ++layer)
                for (std::int32_t head = 0; head < trace.info().shape.kv_heads; ++head) {
                    const HeldState state =
                        held_state(decided.fate[layer],
                                   head,
                                   tokens,
                                   0,
                                   static_cast<std::size_t>(sequence.context_len),
                                   trace.info().shape.head_dim);
                    REQUIRE(std::accumulate(state.kept.begin(), state.kept.end(), 0) == keep);
                    recall +=
                        static_cast<double>(needle_kept(needle_positions(sequence), state.kept)) /
                        needle;
                    heads += 1.0;
                }
        });
    }
    // Hypergeometric: n_keep / T, with variance p (1 - p) / n * (T - n) / (T - 1) for one head.
    const double tokens = trace.sequence(0).context_len, share = keep / tokens;
    const double error =
        std::sqrt(share * (1.0 - share) / needle * (tokens - needle) / (tokens - 1.0) / heads);
    CHECK(heads == 2.0 * 2.0 * 2.0 * seeds);
    CHECK(recall / heads == Approx(share).margin(4.0 * error));
}
