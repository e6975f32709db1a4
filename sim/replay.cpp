#include "sim/replay.hpp"

#include "core/error.hpp"
#include "sim/observe.hpp"
#include "sim/validate.hpp"

#include <algorithm>
#include <memory>

namespace kvtape {
namespace {

LayerParts operator|(const LayerParts& a, const LayerParts& b) {
    return {.keys = a.keys || b.keys,
            .values = a.values || b.values,
            .queries = a.queries || b.queries,
            .outputs = a.outputs || b.outputs,
            .logsumexp = a.logsumexp || b.logsumexp,
            .column_sums = a.column_sums || b.column_sums};
}

/// `tokens` and ratio of one budget for one sequence.
Limit limit_of(const Budget& budget, const Shape& shape, const SequenceInfo& sequence) {
    return {.tokens = budget.tokens_of(sequence.context_len, shape), .ratio = budget.ratio()};
}

/// The sessions of all tasks over one sequence.
class SequenceReplay {
  public:
    SequenceReplay(const ReplayRequest& request,
                   std::span<const ReplayTask> tasks,
                   std::int32_t sequence)
        : request_(request),
          tasks_(tasks),
          index_(sequence) {
        for (const ReplayTask& task : tasks)
            sessions_.push_back(task.policy->policy->start(
                {.shape = shape(),
                 .context_len = info().context_len,
                 .prompt_len = info().prompt_len,
                 .random = Philox(request.seed, random_stream(task.policy->spec, info().name)),
                 .threads = request.threads}));
    }

    void observe_layer(std::int32_t layer, LayerData& data) {
        LayerParts parts;
        for (const ReplayTask& task : tasks_)
            parts = parts | parts_for(needs(task), source(task));
        request_.trace->load(index_, layer, parts, data);
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            const ContextView view(
                shape(), info(), data, layer, needs(tasks_[i]), source(tasks_[i]));
            try {
                sessions_[i]->observe(view.view());
            } catch (Error& error) {
                error.add("replaying " + tasks_[i].policy->spec + " over sequence " + info().name);
                throw;
            }
        }
    }

    void decide(const std::function<void(const Decided&)>& decided) const {
        for (std::size_t i = 0; i < tasks_.size(); ++i)
            for (std::size_t b = 0; b < tasks_[i].budgets.size(); ++b) {
                const Limit limit = limit_of(tasks_[i].budgets[b], shape(), info());
                const Decision decision =
                    sessions_[i]->decide({0, info().context_len, false}, limit);
                validate(decision, *tasks_[i].policy, info(), request_.layers, limit);
                decided({i, b, index_, &decision, sessions_[i].get(), limit});
            }
    }

  private:
    const Shape& shape() const { return request_.trace->info().shape; }
    const SequenceInfo& info() const { return request_.trace->sequence(index_); }
    Needs needs(const ReplayTask& task) const { return task.policy->policy->needs(); }
    QuerySource source(const ReplayTask& task) const {
        return source_of(*task.policy, request_.source);
    }

    const ReplayRequest& request_;
    std::span<const ReplayTask> tasks_;
    std::int32_t index_;
    std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace

QuerySource source_of(const PolicyRun& policy, QuerySource asked) {
    return policy.policy->needs().future ? QuerySource::oracle : asked;
}

std::uint64_t random_stream(std::string_view spec, std::string_view sequence) {
    std::uint64_t hash = 0xcbf29ce484222325;
    const auto add = [&](std::string_view text) {
        for (const char c : text)
            hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    };
    add(spec);
    add(std::string_view("\0", 1));
    add(sequence);
    return hash;
}

void replay(const ReplayRequest& request,
            std::span<const ReplayTask> tasks,
            const std::function<void(const Decided&)>& decided) {
    check_feasible(request, tasks);
    LayerData data;
    for (const std::int32_t sequence : request.sequences) {
        SequenceReplay one(request, tasks, sequence);
        for (const std::int32_t layer : request.layers)
            one.observe_layer(layer, data);
        one.decide(decided);
    }
}

}  // namespace kvtape
