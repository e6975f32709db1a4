#include "sim/results.hpp"
#include "sim/tables.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "tests/trace/samples.hpp"

#include <set>
#include <utility>
#include <vector>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// Remembers into which buffers layers were loaded, and in which order.
class WatchedTrace final : public Trace {
  public:
    explicit WatchedTrace(const SyntheticSize& size) : trace_(size) {}

    const TraceInfo& info() const override { return trace_.info(); }
    std::int32_t sequences() const override { return trace_.sequences(); }
    const SequenceInfo& sequence(std::int32_t index) const override {
        return trace_.sequence(index);
    }
    void load(std::int32_t sequence,
              std::int32_t layer,
              const LayerParts& parts,
              LayerData& out) const override {
        trace_.load(sequence, layer, parts, out);
        buffers_.insert(&out);
        loaded_.emplace_back(sequence, layer);
    }

    /// How many buffers have been filled since the last call.
    std::size_t buffers() const { return std::exchange(buffers_, {}).size(); }
    /// (sequence, layer) of every load since the last call.
    std::vector<std::pair<std::int32_t, std::int32_t>> loaded() const {
        return std::exchange(loaded_, {});
    }

  private:
    SyntheticTrace trace_;
    mutable std::set<const LayerData*> buffers_;
    mutable std::vector<std::pair<std::int32_t, std::int32_t>> loaded_;
};

constexpr std::int32_t layers = 9, sequences = 3;

WatchedTrace deep_trace() {
    SyntheticSize size{.sequences = sequences};
    size.shape.layers = layers;
    return WatchedTrace(size);
}

std::vector<std::pair<std::int32_t, std::int32_t>> each_layer_once() {
    std::vector<std::pair<std::int32_t, std::int32_t>> all;
    for (std::int32_t sequence = 0; sequence < sequences; ++sequence)
        for (std::int32_t layer = 0; layer < layers; ++layer)
            all.emplace_back(sequence, layer);
    return all;
}

}  // namespace

TEST_CASE("replay reads every layer once into at most two buffers, however many there are",
          "[sim][memory]") {
    const WatchedTrace trace = deep_trace();
    const std::vector<PolicyRun> policies =
        make_policies({"knorm", "snapkv", "h2o", "lagkv:lag=16", "oracle", "tova", "ems"});
    std::vector<ReplayTask> tasks;
    for (const PolicyRun& policy : policies)
        tasks.push_back({.policy = &policy, .budgets = parse_budgets("10%,50%")});
    int decided = 0;
    replay(request_for(trace), tasks, [&](const Decided&) { ++decided; });
    CHECK(decided == 7 * 2 * sequences);
    CHECK(trace.buffers() <= 2);
    CHECK(trace.loaded() == each_layer_once());
}

TEST_CASE("tables read every layer once into at most two buffers, however many there are",
          "[sim][memory]") {
    const Folder folder;
    const WatchedTrace trace = deep_trace();
    ResultDirectory directory(folder / "out", trace);
    const std::vector<PolicyRun> policies = make_policies({"knorm", "random"});
    std::vector<ReplayTask> tasks;
    for (const PolicyRun& policy : policies)
        tasks.push_back({.policy = &policy, .budgets = parse_budgets("10%,50%")});
    const auto silent = [](std::int64_t, std::int64_t) {};
    replay_into(directory, request_for(trace), tasks, "kvtape test", silent);
    trace.buffers();
    trace.loaded();
    const Tables tables = make_tables(trace, directory.results(), 2, silent);
    CHECK(tables.cells.size() == 4);
    CHECK(trace.buffers() <= 2);
    CHECK(trace.loaded() == each_layer_once());
}
