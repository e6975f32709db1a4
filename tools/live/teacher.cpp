#include "tools/live/teacher.hpp"

#include "analyze/agreement.hpp"

#include <numeric>
#include <span>

namespace kvtape::live {
namespace {

/// The one sequence that a model just ran.
class TapedTrace final : public Trace {
  public:
    TapedTrace(const TraceInfo& info, Tape tape) : info_(info), tape_(std::move(tape)) {}

    const TraceInfo& info() const override { return info_; }
    std::int32_t sequences() const override { return 1; }
    const SequenceInfo& sequence(std::int32_t) const override { return tape_.sequence(); }
    void load(std::int32_t, std::int32_t layer, const LayerParts&, LayerData& out) const override {
        out = tape_.layer(layer);
    }
    void load_probes(std::int32_t,
                     std::int32_t layer,
                     Position moment,
                     LayerData& data) const override {
        tape_.show_probes(layer, moment, data);
    }

  private:
    const TraceInfo& info_;
    Tape tape_;
};

HeadFate head_of(const LayerFate& fate, Position tokens, std::int32_t head) {
    const auto size = static_cast<std::size_t>(tokens);
    const std::size_t begin = static_cast<std::size_t>(head) * size;
    return {.evicted_at = std::span(fate.evicted_at).subspan(begin, size),
            .merged_into = {},
            .scores = {},
            .blocks = {}};
}

}  // namespace

TeacherFed replay_taped(const Engine::Taped& taped,
                        const TraceInfo& info,
                        const PolicyRun& policy,
                        const Budget& budget,
                        const Setting& setting) {
    const Answer& answer = taped.answer;
    const Position tokens = answer.blocks.back().end;
    const TapedTrace trace(info, taped.tape.first(tokens));
    std::vector<std::int32_t> layers(static_cast<std::size_t>(info.shape.layers));
    std::iota(layers.begin(), layers.end(), 0);
    const ReplayRequest request{.trace = &trace,
                                .schedule = setting.schedule,
                                .source = setting.source,
                                .sequences = {0},
                                .layers = layers,
                                .seed = setting.seed,
                                .threads = setting.threads};
    const ReplayTask task{.policy = &policy, .budgets = {budget}};
    TeacherFed result{.jaccard = 0.0, .identical = true};
    std::int64_t counted = 0;
    replay(request, {&task, 1}, [&](const Decided& decided) {
        for (std::size_t layer = 0; layer < layers.size(); ++layer)
            for (std::int32_t head = 0; head < info.shape.kv_heads; ++head)
                for (const SetSizes& sizes : agreement(head_of(decided.fate[layer], tokens, head),
                                                       head_of(answer.fate[layer], tokens, head),
                                                       answer.blocks)) {
                    result.jaccard += sizes.jaccard();
                    result.identical =
                        result.identical && sizes.both == sizes.a && sizes.both == sizes.b;
                    ++counted;
                }
    });
    result.jaccard /= static_cast<double>(std::max<std::int64_t>(counted, 1));
    return result;
}

}  // namespace kvtape::live
