#pragma once

#include "model/tokenizer.hpp"
#include "model/transformer.hpp"
#include "sim/fate.hpp"
#include "sim/replay.hpp"
#include "tools/live/run.hpp"
#include "tools/live/tape.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace kvtape::live {

/// What a model answered with a compressed cache, and what was in it.
struct Answer {
    Fate fate;                  ///< of the prompt's tokens and those of the answer
    std::vector<Block> blocks;  ///< as the schedule cut them
    std::vector<std::int32_t> tokens;
    /// Logits [vocabulary] of the step that produced each token, and of the one behind the last.
    std::vector<std::vector<float>> logits;
    std::int64_t peak_bytes = 0;  ///< device memory of keys and values, largest of all moments
    std::int64_t end_bytes = 0;
    double decode_seconds = 0.0;
};

/// One recorded sequence in the running model, under any number of policies and budgets: its
/// prompt is run again, the cache is compressed when the schedule says so, and the model answers
/// with what is left. The context is processed once for all policies that first decide behind it;
/// from there on every run has a cache of its own.
class Engine {
  public:
    /// Everything must outlive the engine. `tasks` are all that will run; `check_feasible` has
    /// passed them.
    Engine(const Setting& setting,
           const Trace& source,
           std::int32_t sequence,
           std::span<const ReplayTask> tasks);
    ~Engine();

    /// Whether a policy decides once, so that one look at the model serves all budgets.
    bool decides_once(const PolicyRun& policy) const;

    /// Runs one policy at each of its budgets, in order; `answered` gets the budget's index.
    void run(const ReplayTask& task,
             const std::function<void(std::size_t, const Answer&)>& answered);

    /// One run with everything that the model produced on the way: what a replay must be shown to
    /// decide as the running model did.
    struct Taped {
        Answer answer;
        Tape tape;
    };
    Taped run_taped(const PolicyRun& policy, const Budget& budget);

  private:
    struct Prefix;
    Prefix& prefix(Position end);
    /// Tells the setting's listener of this sequence; outlived by the engine.
    std::function<void(Position)> ran() const;
    Answer answer_once(const Run& run, const Session& session, const Budget& budget);
    template <typename Feed>
    Answer generate(Flow& flow, const Fate& fate, const Feed& feed) const;

    Subject subject_;
    bool repeats_ = false;  ///< whether a policy asks for a second pass over the context
    std::unique_ptr<Prefix> prefix_;
};

}  // namespace kvtape::live
