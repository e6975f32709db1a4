#include "core/error.hpp"
#include "sim/moments.hpp"
#include "sim/probes.hpp"
#include "sim/query_statistics.hpp"
#include "sim/replay.hpp"
#include "sim/rope.hpp"

#include <algorithm>
#include <string>

namespace kvtape {
namespace {

/// One policy of a request over one sequence.
class Feasibility {
  public:
    Feasibility(const ReplayRequest& request, const PolicyRun& policy)
        : request_(request),
          policy_(policy),
          demand_(demand_of(policy, request)) {}

    /// What does not depend on the sequence.
    void check() const {
        try {
            policy_.policy->expect_fit(request_.trace->info().shape);
        } catch (Error& error) {
            error.add("replaying " + policy_.spec);
            throw;
        }
        check_schedule();
        if (demand_.needs.rotation && rotation_of(request_.trace->info()).rotary_dim == 0)
            throw usage_error("replaying " + policy_.spec +
                              ": keys cannot be turned back, because the attribute rope of the "
                              "trace has no inv_freq; record it again");
        if (demand_.needs.output_projection && !request_.trace->has_output_projections())
            throw usage_error("replaying " + policy_.spec +
                              ": the trace lacks the datasets output_projection (W_o of every "
                              "layer); record with --output-projection" +
                              other_options());
    }

    void check(std::int32_t index) const {
        const SequenceInfo& sequence = request_.trace->sequence(index);
        const LayerParts stored = request_.trace->stored(index);
        check_blocks(sequence);
        std::string missing = reads_attention() ? missing_rows(sequence) : "";
        if (missing.empty() && demand_.needs.statistics)
            missing = missing_statistics(sequence, stored);
        if (missing.empty())
            missing = missing_repetition(sequence, stored);
        if (!missing.empty())
            throw usage_error("replaying " + policy_.spec + " over sequence " + sequence.name +
                              ": " + missing);
        const bool attends = reads_attention() || demand_.needs.repetition;
        const std::int32_t sliding = attends ? sliding_layer(sequence) : -1;
        if (sliding >= 0)
            throw usage_error("replaying " + policy_.spec + " over sequence " + sequence.name +
                              ": the queries of layer " + std::to_string(sliding) +
                              " see a sliding window shorter than the sequence; policies that "
                              "read attention are replayed over full attention alone; leave such "
                              "layers out with --layers");
    }

    void check(const Limit& limit, const SequenceInfo& sequence) const {
        try {
            policy_.policy->expect_enough(limit, sequence.context_len);
        } catch (Error& error) {
            error.add("replaying " + policy_.spec + " over sequence " + sequence.name);
            throw;
        }
    }

  private:
    bool reads_attention() const {
        const Needs& needs = demand_.needs;
        return needs.window > 0 || needs.column_sums || needs.future || needs.probes;
    }

    /// What a recording that is made again had better have too.
    std::string other_options() const {
        const Needs& needs = demand_.needs;
        if (needs.repetition)
            return " --queries replay";
        if (needs.statistics)
            return needs.statistics_from == recorded_statistics_from ? " --query-statistics"
                                                                     : " --queries all";
        return "";
    }

    void check_schedule() const {
        const Schedule& schedule = request_.schedule;
        const Moments moments = policy_.policy->moments();
        const bool context_alone = demand_.needs.block > 0 || demand_.needs.repetition;
        const bool supported = (!schedule.in_blocks() || moments.blocks) &&
                               (schedule.in_blocks() || demand_.needs.ahead == 0) &&
                               (!schedule.decoding() || moments.decoding) &&
                               (!context_alone || schedule.text() == "prefill");
        if (!supported)
            throw usage_error("replaying " + policy_.spec + " with the schedule " +
                              schedule.text() + ": the policy is defined for " +
                              supported_schedules(*policy_.policy) +
                              "; choose one of these with --schedule");
        if (!schedule.once() && !demand_.needs.probes && demand_.source != QuerySource::agnostic &&
            reads_attention())
            throw usage_error("replaying " + policy_.spec + " with the schedule " +
                              schedule.text() + ": the query source " +
                              std::string(name_of(demand_.source)) +
                              " is defined where a policy decides once; use --query-source "
                              "agnostic, or the schedule prefill or prompt");
    }

    void check_blocks(const SequenceInfo& sequence) const {
        const Position most = demand_.needs.ahead;
        if (most == 0)
            return;
        for (const Step& step : steps_of(request_.schedule, demand_.needs, sequence))
            if (step.block.end - step.block.begin > most)
                throw usage_error("replaying " + policy_.spec + " over sequence " + sequence.name +
                                  ": the block of tokens " + std::to_string(step.block.begin) +
                                  ".." + std::to_string(step.block.end - 1) +
                                  " is longer than the " + std::to_string(most) +
                                  " that can be compressed before they attend; use --schedule "
                                  "block:N with a smaller N");
    }

    /// What the policy misses in the sequence and how to get it, or "" when nothing.
    std::string missing_rows(const SequenceInfo& sequence) const {
        const Position context = sequence.context_len, prompt = sequence.prompt_len;
        if (demand_.source == QuerySource::question) {
            if (context == prompt && demand_.needs.probes)
                return "the policy decides with the question, and there is none (the context ends "
                       "the prompt); record a workload with a question, or leave the sequence out "
                       "with --sequences";
            if (context == prompt)
                return "it has no question (its context ends the prompt); use --query-source "
                       "agnostic";
            return missing_between(sequence,
                                   context,
                                   prompt,
                                   "question",
                                   "",
                                   "record it again, question queries are always stored");
        }
        const std::vector<Step> steps = steps_of(request_.schedule, demand_.needs, sequence);
        if (demand_.source == QuerySource::oracle)
            return missing_future(sequence, steps.back().block.end);
        for (const Step& step : steps) {
            const std::string missing = missing_at(sequence, step);
            if (!missing.empty())
                return missing;
        }
        return "";
    }

    /// Rows that an agnostic policy reads at the end of a block.
    std::string missing_at(const SequenceInfo& sequence, const Step& step) const {
        const Position context = sequence.context_len, end = step.block.end;
        const Position window = std::min(demand_.needs.window, end);
        const bool whole = step.block.begin == 0 && end == context;
        if (step.decides && window > 0) {
            const std::string remedy = end == context
                                           ? "record with --queries last=" + std::to_string(window)
                                           : "record with --queries all";
            const std::string missing =
                missing_between(sequence,
                                end - window,
                                end,
                                end == context ? "context" : "tokens before " + std::to_string(end),
                                "the last ",
                                remedy);
            if (!missing.empty())
                return missing;
        }
        if (!demand_.attends || whole)
            return "";
        const Position begin = step.block.begin == 0 && end > context ? context : step.block.begin;
        return missing_between(sequence,
                               begin,
                               end,
                               "tokens " + std::to_string(begin) + ".." + std::to_string(end - 1),
                               "all ",
                               "record with --queries all");
    }

    static std::string missing_between(const SequenceInfo& sequence,
                                       Position begin,
                                       Position end,
                                       const std::string& which,
                                       const std::string& how_many,
                                       const std::string& remedy) {
        const RowRange rows = rows_between(sequence, begin, end);
        if (rows.count == end - begin)
            return "";
        if (end - begin == 1)
            return "the datasets queries and logsumexp must hold the row of token " +
                   std::to_string(begin) + ", which decides over what is held then; " + remedy;
        const std::string wanted = std::to_string(end - begin);
        const std::string what = which == "context"    ? "the last " + wanted + " context tokens"
                                 : which == "question" ? "all " + wanted + " question tokens"
                                                       : how_many + wanted + " " + which;
        return "the datasets queries and logsumexp must hold rows of " + what + ", found " +
               std::to_string(rows.count) + " of them; " + remedy;
    }

    /// What is missing to know how the queries of the context are distributed.
    std::string missing_statistics(const SequenceInfo& sequence, const LayerParts& stored) const {
        const Position from = demand_.needs.statistics_from, end = sequence.context_len;
        if (rotation_of(request_.trace->info()).rotary_dim == 0)
            return "its queries cannot be turned back, because the attribute rope has no inv_freq; "
                   "record it again";
        if (statistics_recorded(demand_.needs, stored))
            return "";
        const RowRange rows = rows_between(sequence, from, end);
        if (rows.count >= end - from)
            return "";
        const std::string found = "the dataset queries must hold the rows of all tokens " +
                                  std::to_string(from) + ".." + std::to_string(end - 1) +
                                  ", found " + std::to_string(rows.count) + " of them";
        if (stored.query_mean && stored.query_covariance)
            return found + "; query_mean and query_covariance are recorded, but leave out " +
                   std::to_string(recorded_statistics_from) + " sinks, not " +
                   std::to_string(from) +
                   "; use sinks=" + std::to_string(recorded_statistics_from) +
                   ", or record with --queries all";
        return found + (from == recorded_statistics_from
                            ? "; record with --query-statistics or --queries all"
                            : "; record with --queries all");
    }

    std::string missing_repetition(const SequenceInfo& sequence, const LayerParts& stored) const {
        const Needs& needs = demand_.needs;
        if (!needs.repetition || sequence.context_len == 0)
            return "";
        if (sequence.replay_chunks.empty() || !stored.replay_queries || !stored.replay_logsumexp)
            return "the datasets replay_chunks, replay_queries and replay_logsumexp (a second pass "
                   "over the context) are not recorded; record with --queries replay";
        if (needs.hidden_norms && !stored.replay_hidden_norm)
            return "the dataset replay_hidden_norm is not recorded; record with --queries replay";
        return "";
    }

    static std::string missing_future(const SequenceInfo& sequence, Position end) {
        if (rows_between(sequence, end, sequence.length()).count > 0)
            return "";
        return "the datasets queries and logsumexp must hold rows behind the " +
               std::string(end == sequence.context_len ? "context" : "prompt") + " (from token " +
               std::to_string(end) +
               " on), found none; record a workload with a question or with --max-new-tokens "
               "above 0";
    }

    /// The first layer whose queries do not see the whole context, or -1.
    std::int32_t sliding_layer(const SequenceInfo& sequence) const {
        for (const std::int32_t layer : request_.layers) {
            const auto& window =
                request_.trace->info().sliding_window[static_cast<std::size_t>(layer)];
            if (window && *window < sequence.length())
                return layer;
        }
        return -1;
    }

    const ReplayRequest& request_;
    const PolicyRun& policy_;
    Demand demand_;
};

}  // namespace

std::string supported_schedules(const Policy& policy) {
    if (policy.needs().block > 0)
        return "prefill (it takes the context in blocks of its own)";
    if (policy.needs().repetition)
        return "prefill (the second pass that it reads covers the context alone)";
    const Moments moments = policy.moments();
    if (const Position most = policy.needs().ahead; most > 0)
        return "block:N with N at most " + std::to_string(most) +
               (moments.decoding ? ", also with +decode" : "");
    return std::string("prefill, prompt") + (moments.blocks ? ", block:N" : "") +
           (moments.decoding ? ", each also with +decode" : "");
}

void check_feasible(const ReplayRequest& request, std::span<const ReplayTask> tasks) {
    const Shape& shape = request.trace->info().shape;
    for (const ReplayTask& task : tasks) {
        const Feasibility feasibility(request, *task.policy);
        feasibility.check();
        for (const std::int32_t index : request.sequences) {
            feasibility.check(index);
            const SequenceInfo& sequence = request.trace->sequence(index);
            for (const Step& step :
                 steps_of(request.schedule, task.policy->policy->needs(), sequence))
                for (const Budget& budget : task.budgets)
                    feasibility.check(request.schedule.limit(budget, shape, sequence, step.moment),
                                      sequence);
        }
    }
}

}  // namespace kvtape
