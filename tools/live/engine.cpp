#include "tools/live/engine.hpp"

#include "core/error.hpp"
#include "sim/layer_cache.hpp"
#include "sim/moments.hpp"
#include "sim/rope.hpp"
#include "sim/validate.hpp"
#include "tools/live/flow.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <numeric>
#include <optional>

namespace kvtape::live {
namespace {

using Clock = std::chrono::steady_clock;

/// The tokens `[begin, end)` of a sequence.
std::span<const std::int32_t> tokens_of(const SequenceInfo& sequence,
                                        Position begin,
                                        Position end) {
    return std::span(sequence.tokens)
        .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

/// The sequence with `tokens` tokens; those that are not known yet are 0.
SequenceInfo with_length(SequenceInfo sequence, Position tokens) {
    sequence.tokens.resize(static_cast<std::size_t>(tokens));
    return sequence;
}

}  // namespace

/// The state behind a context that was processed with the whole cache.
struct Engine::Prefix {
    Flow flow;
    Position probed = 0;  ///< probes up to this position are on the tape
};

/// One policy in the running model.
class Engine::Run {
  public:
    Run(const Engine& engine, const PolicyRun& policy)
        : engine_(engine),
          policy_(policy),
          rule_(rule_of(policy)),
          request_{.trace = &engine.source_,
                   .schedule = engine.setting_.schedule,
                   .source = engine.setting_.source,
                   .sequences = {engine.index_},
                   .layers = {},
                   .seed = engine.setting_.seed,
                   .threads = engine.setting_.threads},
          demand_(demand_of(policy, request_, engine.index_)),
          steps_(steps_of(engine.setting_.schedule, demand_.needs, engine.prompt_)) {}

    const Demand& demand() const { return demand_; }
    const std::vector<Step>& steps() const { return steps_; }
    bool once() const { return steps_.size() == 1 && engine_.setting_.schedule.once(); }

    std::unique_ptr<Session> start() const {
        const SequenceInfo& sequence = engine_.prompt_;
        return policy_.policy->start(
            {.shape = shape(),
             .rotation = rotation_of(engine_.source_.info()),
             .context_len = sequence.context_len,
             .prompt_len = sequence.prompt_len,
             .sequence = sequence.name,
             .random = Philox(engine_.setting_.seed, random_stream(policy_.spec, sequence.name)),
             .threads = engine_.setting_.threads});
    }

    /// The tokens that attend before a policy decides at `moment` because their queries vote: up to
    /// which position. At most `moment` where none do.
    Position probes_end(Position moment) const {
        if (demand_.needs.probes || demand_.source == QuerySource::question)
            return std::max(moment, engine_.prompt_.prompt_len);
        if (demand_.source == QuerySource::oracle)
            return engine_.source_.sequence(engine_.index_).length();
        return moment;
    }

    void observe(Session& session,
                 LayerCache& cache,
                 const Tape& tape,
                 std::int32_t layer,
                 const Step& step) const {
        const std::vector<float> projection = demand_.needs.output_projection
                                                  ? engine_.source_.output_projection(layer)
                                                  : std::vector<float>();
        cache.enter(step.block, tape.layer(layer), projection);
        session.observe(cache.view());
    }

    Limit limit(const Budget& budget, const Step& step) const {
        return engine_.setting_.schedule.limit(budget, shape(), engine_.room_, step.moment);
    }

    /// Notes in `fate` what `decision` does to one head.
    void note(Fate& fate,
              HeadId id,
              std::span<const Position> held,
              const Step& step,
              const Session& session,
              const Decision& decision,
              const Limit& limit) const {
        validate(decision[id], held, id, limit, rule_, policy_, engine_.prompt_);
        if (decision.merging() == Merging::yes)
            validate(
                decision.merges(id), decision[id], held, id, shape(), policy_, engine_.prompt_);
        const auto index = static_cast<std::size_t>(id.layer);
        fate.settle(index, id.head, step.index, held, decision);
        fate.note_scores(index, id.head, held, session, limit);
    }

    Fate fresh_fate() const {
        std::vector<std::int32_t> layers(static_cast<std::size_t>(shape().layers));
        std::iota(layers.begin(), layers.end(), 0);
        return Fate(shape(), layers, engine_.room_.length(), engine_.setting_.scores);
    }

    const Shape& shape() const { return engine_.setting_.model->shape(); }

  private:
    const Engine& engine_;
    const PolicyRun& policy_;
    Rule rule_;
    ReplayRequest request_;
    Demand demand_;
    std::vector<Step> steps_;
};

/// A run that decides more than once, at one budget: what its policy sees and holds, step by step.
class Engine::Stepwise {
  public:
    Stepwise(const Run& run, const Budget& budget, Flow& flow)
        : run_(run),
          budget_(budget),
          flow_(flow),
          session_(run.start()),
          fate(run.fresh_fate()) {
        for (std::int32_t layer = 0; layer < run.shape().layers; ++layer)
            caches_.emplace_back(run.shape(), flow.tape->sequence(), run.demand(), layer);
    }

    /// The tokens of the step went through the model.
    void take(const Step& step) {
        for (std::int32_t layer = 0; layer < run_.shape().layers; ++layer)
            run_.observe(
                *session_, caches_[static_cast<std::size_t>(layer)], *flow_.tape, layer, step);
        if (!step.decides)
            return;
        const Limit limit = run_.limit(budget_, step);
        const Decision decision = session_->decide(step.block, limit);
        for (std::int32_t layer = 0; layer < run_.shape().layers; ++layer) {
            LayerCache& cache = caches_[static_cast<std::size_t>(layer)];
            for (std::int32_t head = 0; head < run_.shape().kv_heads; ++head)
                run_.note(
                    fate, {layer, head}, cache.positions(head), step, *session_, decision, limit);
            cache.apply(decision);
        }
        session_->settle(decision);
        flow_.apply(decision);
    }

  private:
    const Run& run_;
    const Budget& budget_;
    Flow& flow_;
    std::unique_ptr<Session> session_;
    std::deque<LayerCache> caches_;

  public:
    Fate fate;
};

Engine::Engine(const Setting& setting,
               const Trace& source,
               std::int32_t sequence,
               std::span<const ReplayTask> tasks)
    : setting_(setting),
      source_(source),
      index_(sequence),
      prompt_(with_length(source.sequence(sequence), source.sequence(sequence).prompt_len)),
      room_(prompt_) {
    const Position context = prompt_.context_len;
    Position first = context;
    bool future = false;
    for (const ReplayTask& task : tasks) {
        const Run run(*this, *task.policy);
        const Needs& needs = run.demand().needs;
        const bool reads = needs.window > 0 || needs.column_sums || needs.probes;
        const bool all = needs.statistics || (reads && !run.once());
        first = std::min(first, all ? 0 : std::max(0, context - needs.window));
        repeats_ = repeats_ || needs.repetition;
        future = future || run.demand().source == QuerySource::oracle;
    }
    // An oracle's future is the recorded one.
    const Position answer = future ? source.sequence(sequence).generated() : 0;
    room_ = with_length(prompt_, prompt_.prompt_len + std::max(setting.max_new_tokens, answer));
    const Position last = future ? source.sequence(sequence).length() : room_.length();
    room_.query_positions.resize(static_cast<std::size_t>(last - first));
    std::iota(room_.query_positions.begin(), room_.query_positions.end(), first);
}

Engine::~Engine() = default;

Engine::Prefix& Engine::prefix(Position end) {
    if (prefix_ == nullptr || prefix_->flow.cache.length() != end) {
        const Position context = prompt_.context_len;
        Flow flow(*setting_.model,
                  model::KvCache(*setting_.model, context),
                  Tape(setting_.model->shape(), room_));
        flow.feed(tokens_of(prompt_, 0, context));
        flow.tape->collect_column_sums(flow.cache);
        if (repeats_) {
            SecondPass pass(*setting_.model,
                            *setting_.tokenizer,
                            tokens_of(prompt_, 0, context),
                            flow.cache,
                            setting_.threads);
            flow.tape->collect(pass);
        }
        if (end > context)
            flow.feed(tokens_of(prompt_, context, end));
        prefix_ = std::make_unique<Prefix>(Prefix{std::move(flow), end});
    }
    return *prefix_;
}

/// Greedy, until a stop token or the limit; `fed` is told of every token that went through.
template <typename Fed>
Answer Engine::generate(Flow& flow, const Fate& fate, const Fed& fed) const {
    Answer answer;
    const std::vector<std::int32_t>& stop = setting_.model->config().stop_tokens;
    const auto begin = Clock::now();
    answer.logits.push_back(flow.logits);
    while (std::ssize(answer.tokens) < setting_.max_new_tokens) {
        const std::int32_t best = model::top_logits(flow.logits, 1).ids.front();
        if (std::find(stop.begin(), stop.end(), best) != stop.end())
            break;
        const Position position = flow.cache.length();
        if (flow.tape)
            flow.tape->set_token(position, best);
        flow.feed({&best, 1});
        answer.tokens.push_back(best);
        answer.logits.push_back(flow.logits);
        fed(position);
    }
    answer.decode_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    answer.peak_bytes = flow.peak_bytes;
    answer.end_bytes = flow.cache.bytes();
    const Position length = prompt_.prompt_len + static_cast<Position>(answer.tokens.size());
    answer.blocks = setting_.schedule.blocks(with_length(prompt_, length));
    answer.fate = fate.first(length);
    return answer;
}

bool Engine::decides_once(const PolicyRun& policy) const {
    return Run(*this, policy).once();
}

void Engine::run(const ReplayTask& task,
                 const std::function<void(std::size_t, const Answer&)>& answered) {
    const Run run(*this, *task.policy);
    if (!run.once()) {
        for (std::size_t budget = 0; budget < task.budgets.size(); ++budget)
            answered(budget, run_taped(*task.policy, task.budgets[budget]).answer);
        return;
    }
    const Step& step = run.steps().front();
    Prefix& prefix = this->prefix(step.block.end);
    if (const Position end = run.probes_end(prefix.probed); end > prefix.probed) {
        prefix.flow.probe(tokens_of(source_.sequence(index_), step.block.end, end), step.block.end);
        prefix.probed = end;
    }
    const std::unique_ptr<Session> session = run.start();
    // What a policy was shown stays until it has decided, for those that merge.
    std::deque<LayerCache> caches;
    for (std::int32_t layer = 0; layer < run.shape().layers; ++layer)
        run.observe(
            *session,
            caches.emplace_back(run.shape(), prefix.flow.tape->sequence(), run.demand(), layer),
            *prefix.flow.tape,
            layer,
            step);
    for (std::size_t budget = 0; budget < task.budgets.size(); ++budget)
        answered(budget, answer_once(run, *session, task.budgets[budget]));
}

/// One decision, then the rest of the prompt and the answer over what it left.
Answer Engine::answer_once(const Run& run, const Session& session, const Budget& budget) {
    const Step& step = run.steps().front();
    const Limit limit = run.limit(budget, step);
    const Decision decision = session.decide(step.block, limit);
    Fate fate = run.fresh_fate();
    std::vector<Position> held(static_cast<std::size_t>(step.block.end));
    std::iota(held.begin(), held.end(), 0);
    for (std::int32_t layer = 0; layer < run.shape().layers; ++layer)
        for (std::int32_t head = 0; head < run.shape().kv_heads; ++head)
            run.note(fate, {layer, head}, held, step, session, decision, limit);
    const Flow& shared = prefix_->flow;
    Flow flow(*setting_.model, shared.cache.copy(), std::nullopt);
    flow.logits = shared.logits;
    flow.peak_bytes = shared.cache.bytes();
    flow.apply(decision);
    if (step.block.end < prompt_.prompt_len)
        flow.feed(tokens_of(prompt_, step.block.end, prompt_.prompt_len));
    return generate(flow, fate, [](Position) {});
}

Engine::Taped Engine::run_taped(const PolicyRun& policy, const Budget& budget) {
    const Run run(*this, policy);
    const SequenceInfo& recorded = source_.sequence(index_);
    const Position shared_end = run.steps().front().block.end;
    const bool shares = shared_end >= prompt_.context_len;
    Flow flow = [&] {
        if (!shares)
            return Flow(*setting_.model,
                        model::KvCache(*setting_.model, 0),
                        Tape(setting_.model->shape(), room_));
        const Flow& from = prefix(shared_end).flow;
        Flow copy(*setting_.model, from.cache.copy(), from.tape);
        copy.logits = from.logits;
        copy.peak_bytes = from.cache.bytes();
        return copy;
    }();
    Stepwise steps(run, budget, flow);
    for (const Step& step : run.steps()) {
        if (step.block.end > flow.cache.length())
            flow.feed(tokens_of(prompt_, flow.cache.length(), step.block.end));
        const Position at = std::max(step.block.end, prompt_.context_len);
        if (const Position end = run.probes_end(at); end > at)
            flow.probe(tokens_of(recorded, at, end), at);
        steps.take(step);
    }
    if (flow.cache.length() < prompt_.prompt_len)
        flow.feed(tokens_of(prompt_, flow.cache.length(), prompt_.prompt_len));
    const auto prompt_blocks = static_cast<std::int32_t>(setting_.schedule.blocks(prompt_).size());
    Answer answer = generate(flow, steps.fate, [&](Position position) {
        if (!setting_.schedule.decoding())
            return;
        const Block block{position, position + 1, true};
        const std::int32_t index = prompt_blocks + position - prompt_.prompt_len;
        steps.take({.block = block, .index = index, .decides = true, .moment = block});
    });
    return {std::move(answer), std::move(*flow.tape)};
}

}  // namespace kvtape::live
