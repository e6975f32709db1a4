#include "sim/sequence_replay.hpp"

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "sim/layer_cache.hpp"
#include "sim/moments.hpp"
#include "sim/rope.hpp"
#include "sim/validate.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

namespace kvtape {
namespace {

/// How often a policy decides, and what that takes.
enum class Course {
    once,       ///< one session sees every layer, and is cut at every budget
    layerwise,  ///< a session for every layer, cut at every budget while the layer is there
    by_layer,   ///< a session for every layer and budget, which lives through all blocks
    in_step,    ///< a session for every budget, which sees all layers block by block
};

/// One policy over one sequence.
struct Run {
    const ReplayTask* task = nullptr;
    Course course = Course::once;
    Demand demand;
    Rule rule;
    std::vector<Step> steps;
    std::unique_ptr<Session> session;  ///< of a run that decides once
    /// One for each budget; a run that decides once has one for all, which each cut overwrites.
    std::vector<Fate> fates;
};

/// All tasks over one sequence.
class SequenceReplay {
  public:
    SequenceReplay(const ReplayRequest& request,
                   std::span<const ReplayTask> tasks,
                   std::int32_t sequence)
        : request_(request),
          tasks_(tasks),
          index_(sequence),
          rotation_(rotation_of(request.trace->info())) {
        for (const ReplayTask& task : tasks)
            runs_.push_back(plan(task));
    }

    void play(const std::function<void(const Decided&)>& decided) {
        LayerData data;
        for (std::size_t layer = 0; layer < request_.layers.size(); ++layer)
            play_layer(layer, data);
        for (Run& run : runs_)
            if (run.course == Course::in_step)
                play_in_step(run, data);
        for (std::size_t task = 0; task < runs_.size(); ++task) {
            Run& run = runs_[task];
            const bool once = run.course == Course::once;
            if (once)
                run.fates.push_back(fresh_fate());
            for (std::size_t budget = 0; budget < tasks_[task].budgets.size(); ++budget) {
                if (once)
                    cut(run, budget, run.fates.front());
                decided({task, budget, index_, run.fates[once ? 0 : budget]});
            }
            run.fates.clear();
        }
    }

  private:
    const Shape& shape() const { return request_.trace->info().shape; }
    const SequenceInfo& info() const { return request_.trace->sequence(index_); }

    Run plan(const ReplayTask& task) const {
        const Needs needs = task.policy->policy->needs();
        Run run{.task = &task,
                .course = needs.across_layers ? Course::in_step : Course::by_layer,
                .demand = demand_of(*task.policy, request_, index_),
                .rule = rule_of(*task.policy),
                .steps = steps_of(request_.schedule, needs, info()),
                .session = nullptr,
                .fates = {}};
        if (run.steps.size() == 1)
            run.course = needs.merges ? Course::layerwise : Course::once;
        if (run.course == Course::once)
            run.session = start(run);
        else
            run.fates.assign(task.budgets.size(), fresh_fate());
        return run;
    }

    Fate fresh_fate() const {
        return Fate(shape(), request_.layers, info().length(), request_.scores);
    }

    std::unique_ptr<Session> start(const Run& run) const {
        const PolicyRun& policy = *run.task->policy;
        return policy.policy->start(
            {.shape = shape(),
             .rotation = rotation_,
             .context_len = info().context_len,
             .prompt_len = info().prompt_len,
             .sequence = info().name,
             .random = Philox(request_.seed, random_stream(policy.spec, info().name)),
             .threads = request_.threads});
    }

    Limit limit(const Run& run, std::size_t budget, const Step& step) const {
        return request_.schedule.limit(run.task->budgets[budget], shape(), info(), step.moment);
    }

    /// Everything that can be seen layer by layer, from one reading of the layer.
    void play_layer(std::size_t layer, LayerData& data) {
        LayerParts parts;
        bool projection = false, wanted = false;
        for (const Run& run : runs_) {
            if (run.course == Course::in_step)
                continue;
            wanted = true;
            parts = parts | parts_for(run.demand);
            projection = projection || run.demand.needs.output_projection;
        }
        if (!wanted)
            return;
        const std::int32_t number = request_.layers[layer];
        request_.trace->load(index_, number, parts, data);
        const std::vector<float> output_projection =
            projection ? request_.trace->output_projection(number) : std::vector<float>();
        for (Run& run : runs_) {
            if (run.course == Course::once) {
                LayerCache cache(shape(), info(), run.demand, number);
                cache.enter(run.steps.front().block, data, output_projection);
                observe(run, *run.session, cache);
            }
            if (run.course == Course::layerwise)
                cut_layer(run, layer, data, output_projection);
            if (run.course == Course::by_layer)
                for (std::size_t budget = 0; budget < run.fates.size(); ++budget)
                    live_through(run, budget, layer, data, output_projection);
        }
    }

    /// One decision for every budget, over one layer.
    void cut_layer(Run& run,
                   std::size_t layer,
                   const LayerData& data,
                   const std::vector<float>& output_projection) const {
        LayerCache cache(shape(), info(), run.demand, request_.layers[layer]);
        const Step& step = run.steps.front();
        const std::unique_ptr<Session> session = start(run);
        cache.enter(step.block, data, output_projection);
        observe(run, *session, cache);
        for (std::size_t budget = 0; budget < run.fates.size(); ++budget)
            note(judge(run, *session, step, budget), run.fates[budget], layer, cache);
    }

    void live_through(Run& run,
                      std::size_t budget,
                      std::size_t layer,
                      LayerData& data,
                      const std::vector<float>& output_projection) const {
        LayerCache cache(shape(), info(), run.demand, request_.layers[layer]);
        const std::unique_ptr<Session> session = start(run);
        for (const Step& step : run.steps) {
            request_.trace->load_probes(index_, request_.layers[layer], step.block.end, data);
            cache.enter(step.block, data, output_projection);
            observe(run, *session, cache);
            if (step.decides)
                decide(run, budget, *session, step, {&cache, 1}, layer);
        }
    }

    /// One budget of a run that goes in step.
    struct Lane {
        std::vector<LayerCache> caches;
        std::unique_ptr<Session> session;
    };

    /// All budgets side by side, so that a block costs one reading of each layer. Copies of what is
    /// held are given back after every layer, so that one layer is in memory.
    void play_in_step(Run& run, LayerData& data) const {
        std::vector<Lane> lanes(run.fates.size());
        for (Lane& lane : lanes) {
            lane.session = start(run);
            for (const std::int32_t layer : request_.layers)
                lane.caches.emplace_back(shape(), info(), run.demand, layer);
        }
        for (const Step& step : run.steps) {
            for (std::size_t layer = 0; layer < request_.layers.size(); ++layer) {
                const std::int32_t number = request_.layers[layer];
                request_.trace->load(index_, number, parts_for(run.demand), data);
                request_.trace->load_probes(index_, number, step.block.end, data);
                for (Lane& lane : lanes) {
                    lane.caches[layer].enter(step.block, data, no_projection_);
                    observe(run, *lane.session, lane.caches[layer]);
                    lane.caches[layer].release();
                }
            }
            for (std::size_t budget = 0; step.decides && budget < lanes.size(); ++budget)
                decide(run, budget, *lanes[budget].session, step, lanes[budget].caches, 0);
        }
    }

    template <typename Action>
    auto named(const Run& run, const Action& action) const {
        try {
            return action();
        } catch (Error& error) {
            error.add("replaying " + run.task->policy->spec + " over sequence " + info().name);
            throw;
        }
    }

    void observe(const Run& run, Session& session, const LayerCache& cache) const {
        named(run, [&] { session.observe(cache.view()); });
    }

    /// A decision and what led to it.
    struct Verdict {
        const Run& run;
        const Session& session;
        const Step& step;
        Limit limit;
        Decision decision;
    };

    Verdict judge(const Run& run,
                  const Session& session,
                  const Step& step,
                  std::size_t budget) const {
        const Limit limit = this->limit(run, budget, step);
        Verdict verdict{run, session, step, limit, named(run, [&] {
                            return session.decide(step.block, limit);
                        })};
        if (verdict.decision.merging() == Merging::yes && !run.demand.needs.merges)
            throw internal_error("replaying " + run.task->policy->spec +
                                 ": it merges and does not say so in what it needs");
        return verdict;
    }

    /// Takes the decision at the end of a block over `caches`, the layers from index `first` on,
    /// and carries it out.
    void decide(Run& run,
                std::size_t budget,
                Session& session,
                const Step& step,
                std::span<LayerCache> caches,
                std::size_t first) const {
        const Verdict verdict = judge(run, session, step, budget);
        for (std::size_t c = 0; c < caches.size(); ++c) {
            note(verdict, run.fates[budget], first + c, caches[c]);
            caches[c].apply(verdict.decision);
        }
        session.settle(verdict.decision);
    }

    /// One decision, over every layer and all tokens of the block, into a fate that nothing but
    /// cuts of this run have touched.
    void cut(const Run& run, std::size_t budget, Fate& fate) const {
        const Step& step = run.steps.front();
        const Verdict verdict = judge(run, *run.session, step, budget);
        std::vector<Position> held(static_cast<std::size_t>(step.block.end));
        std::iota(held.begin(), held.end(), 0);
        const std::size_t layers = request_.layers.size();
        const std::int32_t heads = shape().kv_heads;
        // Heads of a layer come in order: what they merge goes into one list.
        parallel_for(layers, request_.threads, [&](std::size_t layer) {
            for (std::int32_t head = 0; head < heads; ++head)
                settle(verdict, fate, layer, head, held);
        });
        for (std::size_t layer = 0; layer < layers; ++layer)
            for (std::int32_t head = 0; head < heads; ++head)
                fate.note_scores(layer, head, held, verdict.session, verdict.limit);
    }

    void note(const Verdict& verdict,
              Fate& fate,
              std::size_t layer,
              const LayerCache& cache) const {
        for (std::int32_t head = 0; head < shape().kv_heads; ++head) {
            const std::span<const Position> held = cache.positions(head);
            settle(verdict, fate, layer, head, held);
            fate.note_scores(layer, head, held, verdict.session, verdict.limit);
        }
    }

    void settle(const Verdict& verdict,
                Fate& fate,
                std::size_t layer,
                std::int32_t head,
                std::span<const Position> held) const {
        const HeadId id{request_.layers[layer], head};
        const PolicyRun& policy = *verdict.run.task->policy;
        const Decision& decision = verdict.decision;
        validate(decision[id], held, id, verdict.limit, verdict.run.rule, policy, info());
        if (decision.merging() == Merging::yes)
            validate(decision.merges(id), decision[id], held, id, shape(), policy, info());
        fate.settle(layer, head, verdict.step.index, held, decision);
    }

    const ReplayRequest& request_;
    std::span<const ReplayTask> tasks_;
    std::int32_t index_;
    Rotation rotation_;
    const std::vector<float> no_projection_;
    std::vector<Run> runs_;
};

}  // namespace

void replay_sequence(const ReplayRequest& request,
                     std::span<const ReplayTask> tasks,
                     std::int32_t sequence,
                     const std::function<void(const Decided&)>& decided) {
    SequenceReplay(request, tasks, sequence).play(decided);
}

}  // namespace kvtape
