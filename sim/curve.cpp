#include "sim/curve.hpp"

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/reduce.hpp"
#include "sim/csv.hpp"
#include "sim/head_facts.hpp"
#include "sim/layer_cache.hpp"
#include "sim/moments.hpp"
#include "sim/rope.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <optional>

namespace kvtape {
namespace {

constexpr std::string_view header =
    "policy,parameters,schedule,query_source,task,tokens,kept_ratio,needle_recall,"
    "needle_recall_weighted,mass_kept";

/// Sums over the heads of one sequence that grow with the budget. Element `b` is what the budget of
/// `b` tokens adds to the one below it, until `finish`.
struct SequenceCurve {
    std::string task;
    std::vector<double> kept, needles, weighted, mass;
    double tokens = 0.0, needle_tokens = 0.0, weights = 0.0, heads = 0.0;

    explicit SequenceCurve(const SequenceInfo& sequence, Position end)
        : task(sequence.task),
          kept(static_cast<std::size_t>(end) + 1),
          needles(kept),
          weighted(kept),
          mass(kept) {}

    void finish() {
        for (std::vector<double>* steps : {&kept, &needles, &weighted, &mass})
            std::partial_sum(steps->begin(), steps->end(), steps->begin());
    }
    std::size_t at(std::size_t budget) const { return std::min(budget, kept.size() - 1); }
};

/// Mean over the probes of what each token got of them in the full run, in double; [T].
std::vector<double> mean_attention(const HeadFacts& facts, std::size_t tokens) {
    std::vector<double> mean(tokens);
    double rows = 0.0;
    for (const MatrixView& head : facts.rows(facts.probes))
        for (Eigen::Index row = 0; row < head.rows(); ++row, rows += 1.0) {
            const std::span<const float> weights(head.data() + row * head.outerStride(), tokens);
            const double total = ordered_sum(weights);
            for (std::size_t token = 0; token < tokens; ++token)
                mean[token] += static_cast<double>(weights[token]) / total;
        }
    for (double& share : mean)
        share /= rows;
    return mean;
}

/// Every task over one sequence.
class CurveReplay {
  public:
    CurveReplay(const ReplayRequest& request,
                std::span<const ReplayTask> tasks,
                std::int32_t sequence)
        : request_(request),
          tasks_(tasks),
          index_(sequence),
          end_(request.schedule.blocks(info())[0].end) {
        const Rotation rotation = rotation_of(request.trace->info());
        for (const ReplayTask& task : tasks) {
            const PolicyRun& policy = *task.policy;
            demands_.push_back(demand_of(policy, request, sequence));
            curves_.emplace_back(info(), end_);
            sessions_.push_back(policy.policy->start(
                {.shape = shape(),
                 .rotation = rotation,
                 .context_len = info().context_len,
                 .prompt_len = info().prompt_len,
                 .sequence = info().name,
                 .random = Philox(request.seed, random_stream(policy.spec, info().name)),
                 .threads = request.threads}));
        }
    }

    std::vector<SequenceCurve> play() {
        LayerData data;
        for (const std::int32_t layer : request_.layers) {
            LayerParts parts{.keys = true, .queries = true};
            bool projection = false;
            for (const Demand& demand : demands_) {
                parts = parts | parts_for(demand);
                projection = projection || demand.needs.output_projection;
            }
            request_.trace->load(index_, layer, parts, data);
            const std::vector<float> output_projection =
                projection ? request_.trace->output_projection(layer) : std::vector<float>();
            for (std::size_t task = 0; task < tasks_.size(); ++task) {
                LayerCache cache(shape(), info(), demands_[task], layer);
                cache.enter({0, end_, false}, data, output_projection);
                sessions_[task]->observe(cache.view());
            }
            measure(layer, data);
        }
        for (SequenceCurve& curve : curves_)
            curve.finish();
        return std::move(curves_);
    }

  private:
    const Shape& shape() const { return request_.trace->info().shape; }
    const SequenceInfo& info() const { return request_.trace->sequence(index_); }

    void measure(std::int32_t layer, const LayerData& data) {
        const auto heads = static_cast<std::size_t>(shape().kv_heads);
        const std::size_t tokens = info().tokens.size();
        std::vector<std::vector<double>> attention(heads);
        std::vector<std::vector<Position>> needles(heads);
        std::vector<double> weights(heads);
        parallel_for(heads, request_.threads, [&](std::size_t head) {
            const HeadFacts facts = facts_of(
                request_.trace->info(), info(), layer, data, static_cast<std::int32_t>(head));
            needles[head] = facts.needle;
            weights[head] = facts.needle_weight;
            if (facts.probes.count > 0)
                attention[head] = mean_attention(facts, tokens);
        });
        parallel_for(tasks_.size(), request_.threads, [&](std::size_t task) {
            for (std::size_t head = 0; head < heads; ++head) {
                const HeadId id{layer, static_cast<std::int32_t>(head)};
                add(curves_[task],
                    sessions_[task]->survival(id),
                    needles[head],
                    weights[head],
                    attention[head]);
            }
        });
    }

    void add(SequenceCurve& curve,
             const std::vector<Position>& survival,
             const std::vector<Position>& needle,
             double weight,
             const std::vector<double>& attention) const {
        if (survival.size() != static_cast<std::size_t>(end_))
            throw internal_error("drawing the curve of sequence " + info().name +
                                 ": the policy does not say when each token is kept");
        const auto from = [&](Position token) {
            return curve.at(static_cast<std::size_t>(survival[static_cast<std::size_t>(token)]));
        };
        curve.heads += 1.0;
        curve.tokens += static_cast<double>(end_);
        for (Position token = 0; token < end_; ++token)
            curve.kept[from(token)] += 1.0;
        for (const Position token : needle) {
            curve.needles[from(token)] += 1.0;
            curve.weighted[from(token)] += weight / static_cast<double>(needle.size());
        }
        curve.needle_tokens += static_cast<double>(needle.size());
        curve.weights += needle.empty() ? 0.0 : weight;
        for (std::size_t token = 0; token < attention.size(); ++token)
            curve.mass[token < static_cast<std::size_t>(end_) ? from(static_cast<Position>(token))
                                                              : 0] += attention[token];
    }

    const ReplayRequest& request_;
    std::span<const ReplayTask> tasks_;
    std::int32_t index_;
    Position end_;
    std::vector<Demand> demands_;
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<SequenceCurve> curves_;
};

/// Mean over sequences of `part / whole` at a budget, those without a whole left out.
std::optional<double> mean_share(std::span<const SequenceCurve> curves,
                                 std::vector<double> SequenceCurve::*part,
                                 double SequenceCurve::*whole,
                                 std::size_t budget) {
    std::vector<double> shares;
    for (const SequenceCurve& curve : curves)
        if (curve.*whole > 0.0)
            shares.push_back((curve.*part)[curve.at(budget)] / curve.*whole);
    if (shares.empty())
        return std::nullopt;
    return ordered_mean(shares);
}

/// As above for the kept mass, whose whole is what the last budget keeps.
std::optional<double> mean_mass(std::span<const SequenceCurve> curves, std::size_t budget) {
    std::vector<double> shares;
    for (const SequenceCurve& curve : curves)
        if (curve.mass.back() > 0.0)
            shares.push_back(curve.mass[curve.at(budget)] / curve.mass.back());
    if (shares.empty())
        return std::nullopt;
    return ordered_mean(shares);
}

double kept_ratio(std::span<const SequenceCurve> curves, std::size_t budget) {
    double kept = 0.0, all = 0.0;
    for (const SequenceCurve& curve : curves) {
        kept += curve.kept[curve.at(budget)];
        all += curve.tokens;
    }
    return all > 0.0 ? kept / all : 0.0;
}

void add_rows(Csv& csv,
              const ReplayRequest& request,
              const PolicyRun& policy,
              const std::string& task,
              std::span<const SequenceCurve> curves) {
    std::size_t longest = 0;
    for (const SequenceCurve& curve : curves)
        longest = std::max(longest, curve.kept.size() - 1);
    for (std::size_t budget = 1; budget <= longest; ++budget) {
        csv.field(policy.spec)
            .field(to_text(policy.policy->parameters()))
            .field(request.schedule.text())
            .field(std::string(name_of(source_of(policy, request.source))))
            .field(task)
            .field(static_cast<std::int64_t>(budget))
            .field(kept_ratio(curves, budget))
            .field(
                mean_share(curves, &SequenceCurve::needles, &SequenceCurve::needle_tokens, budget))
            .field(mean_share(curves, &SequenceCurve::weighted, &SequenceCurve::weights, budget))
            .field(mean_mass(curves, budget))
            .end_row();
    }
}

/// The caller asks for what there is.
void expect_curves(const ReplayRequest& request, std::span<const ReplayTask> tasks) {
    if (!request.schedule.once())
        throw internal_error("drawing curves with the schedule " + request.schedule.text());
    for (const ReplayTask& task : tasks)
        if (!has_curve(*task.policy))
            throw internal_error("drawing the curve of " + task.policy->spec + ", which has none");
}

}  // namespace

bool has_curve(const PolicyRun& policy) {
    const Needs needs = policy.policy->needs();
    return policy.info->nested && needs.block == 0 && needs.ahead == 0;
}

std::string curve_table(const ReplayRequest& request,
                        std::span<const ReplayTask> tasks,
                        const StepReport& report) {
    expect_curves(request, tasks);
    check_feasible(request, tasks);
    // [task of the replay][task of the workload]
    std::vector<std::map<std::string, std::vector<SequenceCurve>>> curves(tasks.size());
    std::int64_t done = 0;
    for (const std::int32_t sequence : request.sequences) {
        std::vector<SequenceCurve> found = CurveReplay(request, tasks, sequence).play();
        for (std::size_t task = 0; task < tasks.size(); ++task) {
            const std::string workload = found[task].task;
            curves[task][workload].push_back(std::move(found[task]));
        }
        report(++done, std::ssize(request.sequences));
    }
    Csv csv(header);
    for (std::size_t task = 0; task < tasks.size(); ++task)
        for (const auto& [workload, of_task] : curves[task])
            add_rows(csv, request, *tasks[task].policy, workload, of_task);
    return csv.text();
}

}  // namespace kvtape
