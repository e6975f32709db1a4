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

Engine::Engine(const Setting& setting,
               const Trace& source,
               std::int32_t sequence,
               std::span<const ReplayTask> tasks)
    : subject_{
          .setting = setting,
          .source = source,
          .index = sequence,
          .prompt = with_length(source.sequence(sequence), source.sequence(sequence).prompt_len),
          .room = {}} {
    const Position context = subject_.prompt.context_len;
    Position first = context;
    bool future = false;
    for (const ReplayTask& task : tasks) {
        const Run run(subject_, *task.policy);
        const Needs& needs = run.demand().needs;
        const bool reads = needs.window > 0 || needs.column_sums || needs.probes;
        const bool all = needs.statistics || (reads && !run.once());
        first = std::min(first, all ? 0 : std::max(0, context - needs.window));
        repeats_ = repeats_ || needs.repetition;
        future = future || run.demand().source == QuerySource::oracle;
    }
    // An oracle's future is the recorded one.
    const Position answer = future ? source.sequence(sequence).generated() : 0;
    subject_.room = with_length(
        subject_.prompt, subject_.prompt.prompt_len + std::max(setting.max_new_tokens, answer));
    const Position last = future ? source.sequence(sequence).length() : subject_.room.length();
    subject_.room.query_positions.resize(static_cast<std::size_t>(last - first));
    std::iota(subject_.room.query_positions.begin(), subject_.room.query_positions.end(), first);
}

Engine::~Engine() = default;

std::function<void(Position)> Engine::ran() const {
    if (!subject_.setting.ran)
        return {};
    return [this](Position behind) { subject_.setting.ran(subject_.prompt, behind); };
}

Engine::Prefix& Engine::prefix(Position end) {
    if (prefix_ == nullptr || prefix_->flow.cache.length() != end) {
        const Position context = subject_.prompt.context_len;
        Flow flow(*subject_.setting.model,
                  model::KvCache(*subject_.setting.model, context),
                  Tape(subject_.setting.model->shape(), subject_.room),
                  ran());
        flow.feed(tokens_of(subject_.prompt, 0, context));
        flow.tape->collect_column_sums(flow.cache);
        if (repeats_) {
            SecondPass pass(*subject_.setting.model,
                            *subject_.setting.tokenizer,
                            tokens_of(subject_.prompt, 0, context),
                            flow.cache,
                            subject_.setting.threads);
            flow.tape->collect(pass);
        }
        if (end > context)
            flow.feed(tokens_of(subject_.prompt, context, end));
        prefix_ = std::make_unique<Prefix>(Prefix{std::move(flow), end});
    }
    return *prefix_;
}

/// Greedy, until a stop token or the limit; `feed` sends a token through the model.
template <typename Feed>
Answer Engine::generate(Flow& flow, const Fate& fate, const Feed& feed) const {
    Answer answer;
    const std::vector<std::int32_t>& stop = subject_.setting.model->config().stop_tokens;
    const auto begin = Clock::now();
    answer.logits.push_back(flow.logits);
    while (std::ssize(answer.tokens) < subject_.setting.max_new_tokens) {
        const std::int32_t best = model::top_logits(flow.logits, 1).ids.front();
        if (std::find(stop.begin(), stop.end(), best) != stop.end())
            break;
        const Position position = flow.cache.length();
        if (flow.tape)
            flow.tape->set_token(position, best);
        feed(std::span(&best, 1), position);
        answer.tokens.push_back(best);
        answer.logits.push_back(flow.logits);
    }
    answer.decode_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    answer.peak_bytes = flow.peak_bytes;
    answer.end_bytes = flow.cache.bytes();
    const Position length =
        subject_.prompt.prompt_len + static_cast<Position>(answer.tokens.size());
    answer.blocks = subject_.setting.schedule.blocks(with_length(subject_.prompt, length));
    answer.fate = fate.first(length);
    return answer;
}

bool Engine::decides_once(const PolicyRun& policy) const {
    return Run(subject_, policy).once();
}

void Engine::run(const ReplayTask& task,
                 const std::function<void(std::size_t, const Answer&)>& answered) {
    const Run run(subject_, *task.policy);
    if (!run.once()) {
        for (std::size_t budget = 0; budget < task.budgets.size(); ++budget)
            answered(budget, run_taped(*task.policy, task.budgets[budget]).answer);
        return;
    }
    const Step& step = run.steps().front();
    Prefix& prefix = this->prefix(step.block.end);
    if (const Position end = run.probes_end(prefix.probed); end > prefix.probed) {
        prefix.flow.probe(tokens_of(subject_.source.sequence(subject_.index), step.block.end, end),
                          step.block.end,
                          step.block.end);
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
    Flow flow(*subject_.setting.model, shared.cache.copy(), std::nullopt, ran());
    flow.logits = shared.logits;
    flow.peak_bytes = shared.cache.bytes();
    flow.apply(decision);
    if (step.block.end < subject_.prompt.prompt_len)
        flow.feed(tokens_of(subject_.prompt, step.block.end, subject_.prompt.prompt_len));
    return generate(
        flow, fate, [&](std::span<const std::int32_t> token, Position) { flow.feed(token); });
}

Engine::Taped Engine::run_taped(const PolicyRun& policy, const Budget& budget) {
    const Run run(subject_, policy);
    const SequenceInfo& recorded = subject_.source.sequence(subject_.index);
    const Position shared_end = run.steps().front().block.end;
    const bool shares = shared_end >= subject_.prompt.context_len;
    Flow flow = [&] {
        if (!shares)
            return Flow(*subject_.setting.model,
                        model::KvCache(*subject_.setting.model, 0),
                        Tape(subject_.setting.model->shape(), subject_.room),
                        ran());
        const Flow& from = prefix(shared_end).flow;
        Flow copy(*subject_.setting.model, from.cache.copy(), from.tape, ran());
        copy.logits = from.logits;
        copy.peak_bytes = from.cache.bytes();
        return copy;
    }();
    Stepwise steps(run, budget, flow);
    for (const Step& step : run.steps()) {
        if (step.block.end > flow.cache.length())
            steps.feed(tokens_of(subject_.prompt, flow.cache.length(), step.block.end), step);
        const Position at = std::max(step.block.end, subject_.prompt.context_len);
        if (const Position end = run.probes_end(at); end > at)
            flow.probe(tokens_of(recorded, at, end), at, step.block.end);
        steps.take(step);
    }
    if (flow.cache.length() < subject_.prompt.prompt_len)
        flow.feed(tokens_of(subject_.prompt, flow.cache.length(), subject_.prompt.prompt_len));
    const auto prompt_blocks =
        static_cast<std::int32_t>(subject_.setting.schedule.blocks(subject_.prompt).size());
    const auto feed = [&](std::span<const std::int32_t> token, Position position) {
        if (!subject_.setting.schedule.decoding())
            return flow.feed(token);
        const Block block{position, position + 1, true};
        const std::int32_t index = prompt_blocks + position - subject_.prompt.prompt_len;
        const Step step{.block = block, .index = index, .decides = true, .moment = block};
        steps.feed(token, step);
        steps.take(step);
    };
    Answer answer = generate(flow, steps.fate(), feed);
    return {std::move(answer), std::move(*flow.tape)};
}

}  // namespace kvtape::live
