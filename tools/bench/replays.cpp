#include "tools/bench/replays.hpp"

#include "sim/replay.hpp"
#include "trace/reader.hpp"

#include <memory>
#include <numeric>

namespace kvtape::bench {
namespace {

Times replay_times(const Setting& setting,
                   const std::filesystem::path& path,
                   const PolicyRun& policy,
                   const std::vector<Budget>& budgets) {
    return measure(setting, [&] {
        const std::unique_ptr<Trace> trace = open_trace(path, Unfinished::refuse, setting.threads);
        std::vector<std::int32_t> sequences(static_cast<std::size_t>(trace->sequences()));
        std::vector<std::int32_t> layers(static_cast<std::size_t>(trace->info().shape.layers));
        std::iota(sequences.begin(), sequences.end(), 0);
        std::iota(layers.begin(), layers.end(), 0);
        const ReplayRequest request{.trace = trace.get(),
                                    .schedule = Schedule::parse("prefill"),
                                    .sequences = sequences,
                                    .layers = layers,
                                    .threads = setting.threads};
        const ReplayTask task{.policy = &policy, .budgets = budgets};
        replay(request, {&task, 1}, [](const Decided&) {});
    });
}

}  // namespace

void bench_replays(const Setting& setting,
                   const std::filesystem::path& trace,
                   const std::vector<std::string>& specs,
                   const Report& report) {
    constexpr int most = 32;
    std::vector<Budget> budgets;
    for (int i = 0; i < most; ++i)
        budgets.push_back(Budget::parse(std::to_string(1 + 3 * i) + "%"));
    for (const std::string& spec : specs) {
        const PolicyRun policy = make_policy(spec);
        const Times one = replay_times(setting, trace, policy, {Budget::parse("25%")});
        Json result = row("replay " + spec, setting, one);
        result["seconds_with_32_budgets"] = replay_times(setting, trace, policy, budgets).median;
        report(result);
    }
}

}  // namespace kvtape::bench
