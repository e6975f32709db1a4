#include "core/error.hpp"
#include "sim/observe.hpp"
#include "sim/replay.hpp"

#include <algorithm>
#include <string>

namespace kvtape {
namespace {

/// What the policy misses in the sequence and how to get it, or "" when nothing.
std::string missing_rows(const Needs& needs, QuerySource source, const SequenceInfo& sequence) {
    const std::string dataset = "the datasets queries and logsumexp must hold rows ";
    const RowRange rows = voting_rows(needs, source, sequence);
    switch (source) {
        case QuerySource::agnostic: {
            const Position wanted = std::min(needs.window, sequence.context_len);
            if (rows.count == wanted)
                return "";
            return dataset + "of the last " + std::to_string(wanted) + " context tokens, found " +
                   std::to_string(rows.count) +
                   " of them; record with --queries last=" + std::to_string(wanted);
        }
        case QuerySource::question: {
            const Position wanted = sequence.prompt_len - sequence.context_len;
            if (wanted == 0)
                return "it has no question (its context ends the prompt); use --query-source "
                       "agnostic";
            if (rows.count == wanted)
                return "";
            return dataset + "of all " + std::to_string(wanted) + " question tokens, found " +
                   std::to_string(rows.count) +
                   " of them; record it again, question queries are always stored";
        }
        case QuerySource::oracle:
            break;
    }
    if (rows.count > 0)
        return "";
    return dataset + "behind the context (from token " + std::to_string(sequence.context_len) +
           " on), found none; record a workload with a question or with --max-new-tokens above 0";
}

/// The first of `layers` whose queries do not see the whole context, or -1.
std::int32_t sliding_layer(const ReplayRequest& request, const SequenceInfo& sequence) {
    for (const std::int32_t layer : request.layers) {
        const auto& window = request.trace->info().sliding_window[static_cast<std::size_t>(layer)];
        if (window && *window < sequence.length())
            return layer;
    }
    return -1;
}

void expect_fit(const PolicyRun& policy, const Shape& shape) {
    try {
        policy.policy->expect_fit(shape);
    } catch (Error& error) {
        error.add("replaying " + policy.spec);
        throw;
    }
}

}  // namespace

void check_feasible(const ReplayRequest& request, std::span<const ReplayTask> tasks) {
    const Shape& shape = request.trace->info().shape;
    for (const ReplayTask& task : tasks) {
        expect_fit(*task.policy, shape);
        const Needs needs = task.policy->policy->needs();
        const bool votes = needs.window > 0 || needs.column_sums || needs.future;
        const QuerySource source = source_of(*task.policy, request.source);
        for (const std::int32_t index : request.sequences) {
            const SequenceInfo& sequence = request.trace->sequence(index);
            const std::string missing = votes ? missing_rows(needs, source, sequence) : "";
            if (!missing.empty())
                throw usage_error("replaying " + task.policy->spec + " over sequence " +
                                  sequence.name + ": " + missing);
            if (const std::int32_t layer = sliding_layer(request, sequence); votes && layer >= 0)
                throw usage_error("replaying " + task.policy->spec + " over sequence " +
                                  sequence.name + ": the queries of layer " +
                                  std::to_string(layer) +
                                  " see a sliding window shorter than the sequence; policies that "
                                  "read attention are replayed over full attention alone; leave "
                                  "such layers out with --layers");
            for (const Budget& budget : task.budgets)
                static_cast<void>(budget.tokens_of(sequence.context_len, shape));
        }
    }
}

}  // namespace kvtape
