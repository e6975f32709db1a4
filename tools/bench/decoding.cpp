#include "tools/bench/decoding.hpp"

#include "sim/replay.hpp"
#include "tools/bench/random_tensor.hpp"
#include "trace/trace.hpp"

#include <cmath>
#include <numeric>

namespace kvtape::bench {
namespace {

constexpr Position context = 2048, question = 16, generated = 256, voters = 64;
constexpr const char* budgets[] = {"5%", "25%", "50%"};

/// One sequence of random tensors. The attention in it is not that of its keys and queries, which
/// changes what is decided, not how long it takes.
class RandomTrace final : public Trace {
  public:
    explicit RandomTrace(int threads) {
        info_.shape = {.layers = 4,
                       .query_heads = 16,
                       .kv_heads = 4,
                       .head_dim = 64,
                       .hidden_size = 1024,
                       .softmax_scale = 0.125,
                       .element_type = ElementType::float32};
        info_.sliding_window.resize(4);
        Json inv_freq = Json::array();
        for (int i = 0; i < 32; ++i)
            inv_freq.push_back(std::pow(1e4, -i / 32.0));
        info_.rope = Json{{"inv_freq", inv_freq}}.dump();
        sequence_.name = "0000";
        sequence_.context_len = context;
        sequence_.prompt_len = context + question;
        sequence_.tokens.assign(context + question + generated, 0);
        sequence_.query_positions.resize(voters + question + generated);
        std::iota(
            sequence_.query_positions.begin(), sequence_.query_positions.end(), context - voters);
        const std::size_t tokens = sequence_.tokens.size();
        const std::size_t queries = sequence_.query_positions.size();
        const auto tensor = [&](std::size_t count, std::uint64_t part, std::uint64_t layer) {
            return random_tensor(count, 8 * layer + part, threads);
        };
        for (std::uint64_t layer = 0; layer < 4; ++layer) {
            LayerData data;
            data.keys = tensor(4 * tokens * 64, 0, layer);
            data.values = tensor(4 * tokens * 64, 1, layer);
            data.queries = tensor(16 * queries * 64, 2, layer);
            data.logsumexp.assign(16 * queries, std::log(static_cast<float>(tokens)));
            data.column_sums = tensor(16 * tokens, 3, layer);
            for (float& sum : data.column_sums)
                sum = std::abs(sum) * 2.0f;
            layers_.push_back(std::move(data));
        }
    }

    const TraceInfo& info() const override { return info_; }
    std::int32_t sequences() const override { return 1; }
    const SequenceInfo& sequence(std::int32_t) const override { return sequence_; }
    void load(std::int32_t,
              std::int32_t layer,
              const LayerParts& parts,
              LayerData& out) const override {
        const LayerData& all = layers_[static_cast<std::size_t>(layer)];
        const auto take = [](bool wanted, const std::vector<float>& from, std::vector<float>& to) {
            to = wanted ? from : std::vector<float>();
        };
        take(parts.keys, all.keys, out.keys);
        take(parts.values, all.values, out.values);
        take(parts.queries, all.queries, out.queries);
        take(parts.logsumexp, all.logsumexp, out.logsumexp);
        take(parts.column_sums, all.column_sums, out.column_sums);
    }

  private:
    TraceInfo info_;
    SequenceInfo sequence_;
    std::vector<LayerData> layers_;
};

Times replay_times(const Setting& setting,
                   const Trace& trace,
                   const PolicyRun& policy,
                   const Budget& budget) {
    const std::vector<std::int32_t> sequences = {0}, layers = {0, 1, 2, 3};
    const ReplayRequest request{.trace = &trace,
                                .schedule = Schedule::parse("prefill+decode"),
                                .sequences = sequences,
                                .layers = layers,
                                .threads = setting.threads};
    const std::vector<Budget> one = {budget};
    const ReplayTask task{.policy = &policy, .budgets = one};
    check_feasible(request, {&task, 1});
    return measure(setting, [&] { replay(request, {&task, 1}, [](const Decided&) {}); });
}

}  // namespace

std::vector<std::string> decoding_policies() {
    std::vector<std::string> specs;
    for (const PolicyInfo& info : policies::all())
        if (!reads_file(info) && make_policy(info.name).policy->moments().decoding)
            specs.emplace_back(info.name);
    return specs;
}

void bench_decoding(const Setting& setting,
                    const std::vector<std::string>& specs,
                    const Report& report) {
    const RandomTrace trace(setting.threads);
    for (const std::string& spec : specs) {
        const PolicyRun policy = make_policy(spec);
        for (const char* budget : budgets) {
            const Times times = replay_times(setting, trace, policy, Budget::parse(budget));
            Json result = row("decode " + spec, setting, times);
            result["budget"] = budget;
            result["generated"] = generated;
            report(result);
        }
    }
}

}  // namespace kvtape::bench
