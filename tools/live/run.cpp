#include "tools/live/run.hpp"

#include "sim/rope.hpp"

#include <algorithm>
#include <numeric>

namespace kvtape::live {
namespace {

ReplayRequest request_for(const Subject& subject) {
    return {.trace = &subject.source,
            .schedule = subject.setting.schedule,
            .source = subject.setting.source,
            .sequences = {subject.index},
            .layers = {},
            .seed = subject.setting.seed,
            .threads = subject.setting.threads};
}

}  // namespace

Run::Run(const Subject& subject, const PolicyRun& policy)
    : subject_(subject),
      policy_(policy),
      rule_(rule_of(policy)),
      demand_(demand_of(policy, request_for(subject), subject.index)),
      steps_(steps_of(subject.setting.schedule, demand_.needs, subject.prompt)) {}

std::unique_ptr<Session> Run::start() const {
    const Setting& setting = subject_.setting;
    const SequenceInfo& sequence = subject_.prompt;
    return policy_.policy->start(
        {.shape = shape(),
         .rotation = rotation_of(subject_.source.info()),
         .context_len = sequence.context_len,
         .prompt_len = sequence.prompt_len,
         .sequence = sequence.name,
         .random = Philox(setting.seed, random_stream(policy_.spec, sequence.name)),
         .threads = setting.threads});
}

Fate Run::fresh_fate() const {
    std::vector<std::int32_t> layers(static_cast<std::size_t>(shape().layers));
    std::iota(layers.begin(), layers.end(), 0);
    return Fate(shape(), layers, subject_.room.length(), subject_.setting.scores);
}

Limit Run::limit(const Budget& budget, const Step& step) const {
    return subject_.setting.schedule.limit(budget, shape(), subject_.room, step.moment);
}

Position Run::probes_end(Position moment) const {
    if (demand_.needs.probes || demand_.source == QuerySource::question)
        return std::max(moment, subject_.prompt.prompt_len);
    if (demand_.source == QuerySource::oracle)
        return subject_.source.sequence(subject_.index).length();
    return moment;
}

void Run::observe(Session& session,
                  LayerCache& cache,
                  const Tape& tape,
                  std::int32_t layer,
                  const Step& step) const {
    const std::vector<float> projection = demand_.needs.output_projection
                                              ? subject_.source.output_projection(layer)
                                              : std::vector<float>();
    cache.enter(step.block, tape.layer(layer), projection);
    session.observe(cache.view());
}

void Run::note(Fate& fate,
               HeadId id,
               std::span<const Position> held,
               const Step& step,
               const Session& session,
               const Decision& decision,
               const Limit& limit) const {
    validate(decision[id], held, id, limit, rule_, policy_, subject_.prompt);
    if (decision.merging() == Merging::yes)
        validate(decision.merges(id), decision[id], held, id, shape(), policy_, subject_.prompt);
    const auto index = static_cast<std::size_t>(id.layer);
    fate.settle(index, id.head, step.index, held, decision);
    fate.note_scores(index, id.head, held, session, limit);
}

Stepwise::Stepwise(const Run& run, const Budget& budget, Flow& flow)
    : run_(run),
      budget_(budget),
      flow_(flow),
      session_(run.start()),
      fate_(run.fresh_fate()) {
    for (std::int32_t layer = 0; layer < run.shape().layers; ++layer)
        caches_.emplace_back(run.shape(), flow.tape->sequence(), run.demand(), layer);
}

/// Listens to one step, and decides on every layer before it attends.
class Stepwise::Ahead final : public Tap {
  public:
    Ahead(Stepwise& steps, const Step& step)
        : steps_(steps),
          step_(step),
          limit_(steps.run_.limit(steps.budget_, step)),
          all_(steps.run_.shape().layers, steps.run_.shape().kv_heads) {}

    TapRequest wants(std::int32_t layer, const Block& block) override {
        return steps_.flow_.tape->wants(layer, block);
    }
    void take(const TapRows& rows) override { steps_.flow_.tape->take(rows); }

    void appended(std::int32_t layer, const Block& block) override {
        Flow& flow = steps_.flow_;
        flow.tape->collect(flow.cache, layer, block.begin, block.end);
        steps_.run_.observe(*steps_.session_,
                            steps_.caches_[static_cast<std::size_t>(layer)],
                            *flow.tape,
                            layer,
                            step_);
        if (!step_.decides)
            return;
        const Decision decision = steps_.session_->decide(step_.block, limit_);
        steps_.settle(layer, step_, decision, limit_);
        for (std::int32_t head = 0; head < all_.kv_heads(); ++head)
            all_[{layer, head}] = decision[{layer, head}];
        flow.cache.apply(decision, layer);
    }

    /// What was decided, layer by layer.
    const Decision& decision() const { return all_; }

  private:
    Stepwise& steps_;
    const Step& step_;
    Limit limit_;
    Decision all_;
};

void Stepwise::feed(std::span<const std::int32_t> tokens, const Step& step) {
    if (!ahead())
        return flow_.feed(tokens);
    Ahead tap(*this, step);
    flow_.feed(tokens, tap);
    if (step.decides)
        session_->settle(tap.decision());
}

void Stepwise::take(const Step& step) {
    if (ahead())
        return;
    const Shape& shape = run_.shape();
    for (std::int32_t layer = 0; layer < shape.layers; ++layer)
        run_.observe(*session_, caches_[static_cast<std::size_t>(layer)], *flow_.tape, layer, step);
    if (!step.decides)
        return;
    const Limit limit = run_.limit(budget_, step);
    const Decision decision = session_->decide(step.block, limit);
    for (std::int32_t layer = 0; layer < shape.layers; ++layer)
        settle(layer, step, decision, limit);
    session_->settle(decision);
    flow_.apply(decision);
}

void Stepwise::settle(std::int32_t layer,
                      const Step& step,
                      const Decision& decision,
                      const Limit& limit) {
    LayerCache& cache = caches_[static_cast<std::size_t>(layer)];
    for (std::int32_t head = 0; head < run_.shape().kv_heads; ++head)
        run_.note(fate_, {layer, head}, cache.positions(head), step, *session_, decision, limit);
    cache.apply(decision);
}

}  // namespace kvtape::live
