#pragma once

#include "sim/fate.hpp"
#include "sim/layer_cache.hpp"
#include "sim/moments.hpp"
#include "sim/replay.hpp"
#include "sim/validate.hpp"
#include "tools/live/flow.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace kvtape::live {

/// What every run shares.
struct Setting {
    model::Transformer* model = nullptr;
    const model::Tokenizer* tokenizer = nullptr;
    Schedule schedule;
    QuerySource source = QuerySource::agnostic;
    Position max_new_tokens = 96;
    std::uint64_t seed = 0;
    int threads = 1;
    StoreScores scores = StoreScores::no;
    /// Told again and again, while the model runs, how many positions of which sequence are behind
    /// it.
    std::function<void(const SequenceInfo&, Position)> ran = {};
};

/// The sequence that runs.
struct Subject {
    const Setting& setting;
    const Trace& source;
    std::int32_t index = 0;
    SequenceInfo prompt;  ///< the sequence without an answer
    SequenceInfo room;    ///< the same with room for one, and the queries to keep
};

/// One policy in the running model: what it asks for, what it is shown, and what it decided. The
/// subject and the policy must outlive it.
class Run {
  public:
    Run(const Subject& subject, const PolicyRun& policy);

    const Demand& demand() const { return demand_; }
    /// Up to the end of the prompt.
    const std::vector<Step>& steps() const { return steps_; }
    /// Whether there is one decision alone.
    bool once() const { return steps_.size() == 1 && subject_.setting.schedule.once(); }
    const Shape& shape() const { return subject_.setting.model->shape(); }

    std::unique_ptr<Session> start() const;
    /// Of no tokens yet, with room for all.
    Fate fresh_fate() const;
    Limit limit(const Budget& budget, const Step& step) const;
    /// The position up to which tokens attend before the policy decides at `moment`, because their
    /// queries vote; `moment` where none do.
    Position probes_end(Position moment) const;

    /// Shows the session one layer of what `tape` holds, as `cache` holds it at the end of `step`.
    void observe(Session& session,
                 LayerCache& cache,
                 const Tape& tape,
                 std::int32_t layer,
                 const Step& step) const;
    /// Notes in `fate` what `decision` does to one head, which held `held`. A decision against the
    /// policy's own rules is an internal error.
    void note(Fate& fate,
              HeadId id,
              std::span<const Position> held,
              const Step& step,
              const Session& session,
              const Decision& decision,
              const Limit& limit) const;

  private:
    const Subject& subject_;
    const PolicyRun& policy_;
    Rule rule_;
    Demand demand_;
    std::vector<Step> steps_;
};

/// A run that decides more than once, at one budget: what its policy sees and holds, step by step.
/// Everything must outlive it.
class Stepwise {
  public:
    Stepwise(const Run& run, const Budget& budget, Flow& flow);

    /// Sends the tokens of the step through the model. A policy that decides before they attend has
    /// decided and evicted when this returns.
    void feed(std::span<const std::int32_t> tokens, const Step& step);
    /// The tokens of the step went through the model: shows them, decides, and evicts, unless that
    /// was done before they attended.
    void take(const Step& step);
    const Fate& fate() const { return fate_; }

  private:
    class Ahead;
    bool ahead() const { return run_.demand().needs.ahead > 0; }
    /// Carries out the decision on one layer, short of evicting from the running cache.
    void settle(std::int32_t layer, const Step& step, const Decision& decision, const Limit& limit);

    const Run& run_;
    const Budget& budget_;
    Flow& flow_;
    std::unique_ptr<Session> session_;
    std::deque<LayerCache> caches_;
    Fate fate_;
};

}  // namespace kvtape::live
