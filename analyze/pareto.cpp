#include "analyze/pareto.hpp"

#include "analyze/result_table.hpp"

namespace kvtape {
namespace {

constexpr std::string_view header =
    "policy,parameters,budget,schedule,query_source,task,sequences,kept_bytes,kept_bytes_ratio,"
    "needle_recall_weighted,needle_recall_weighted_low,needle_recall_weighted_high,on_front,"
    "dominated_by";

bool dominates(const CostAndGain& a, const CostAndGain& b) {
    return a.cost <= b.cost && a.gain >= b.gain && (a.cost < b.cost || a.gain > b.gain);
}

/// One result over the sequences of a task.
struct Contender {
    const MeasuredResult* result = nullptr;
    KeptTotals kept;
    Interval recall;
    std::int64_t sequences = 0;  ///< with a weighted recall

    double share() const {
        return kept.full_bytes == 0
                   ? 0.0
                   : static_cast<double>(kept.bytes) / static_cast<double>(kept.full_bytes);
    }
};

/// The results with a weighted recall in some sequence of the task.
std::vector<Contender> contenders(std::span<const MeasuredResult> results,
                                  const TaskChoice& task,
                                  const Bootstrap& bootstrap) {
    std::vector<Contender> found;
    for (const MeasuredResult& result : results) {
        const std::array<const MeasuredResult*, 1> alone = {&result};
        const std::vector<double> recall =
            paired_figures(alone, task, compared_metrics().front())[0];
        if (!recall.empty())
            found.push_back({.result = &result,
                             .kept = kept_totals(result, task),
                             .recall = bootstrap.mean(recall),
                             .sequences = std::ssize(recall)});
    }
    return found;
}

void add_rows(Csv& csv, const TaskChoice& task, const std::vector<Contender>& contenders) {
    std::vector<CostAndGain> points;
    std::vector<std::size_t> who;
    std::vector<std::optional<std::size_t>> point_of(contenders.size());
    for (std::size_t i = 0; i < contenders.size(); ++i)
        if (contenders[i].result->query_source != "oracle") {
            point_of[i] = points.size();
            points.push_back({contenders[i].share(), contenders[i].recall.mean});
            who.push_back(i);
        }
    const auto better = dominators(points);
    for (std::size_t i = 0; i < contenders.size(); ++i) {
        const Contender& one = contenders[i];
        csv.field(one.result->policy)
            .field(one.result->parameters)
            .field(one.result->budget.text())
            .field(one.result->schedule)
            .field(one.result->query_source)
            .field(task.name)
            .field(one.sequences)
            .field(one.kept.bytes)
            .field(one.share())
            .field(one.recall.mean)
            .field(defined(one.recall.low))
            .field(defined(one.recall.high));
        if (!point_of[i]) {
            csv.field("").field("").end_row();
            continue;
        }
        const auto rival = better[*point_of[i]];
        csv.field(std::int64_t{rival ? 0 : 1});
        if (rival) {
            const MeasuredResult& winner = *contenders[who[*rival]].result;
            csv.field(winner.policy + "@" + winner.budget.text() + "." + winner.schedule + "." +
                      winner.query_source);
        } else {
            csv.field("");
        }
        csv.end_row();
    }
}

}  // namespace

std::vector<std::optional<std::size_t>> dominators(std::span<const CostAndGain> points) {
    std::vector<std::optional<std::size_t>> found(points.size());
    for (std::size_t i = 0; i < points.size(); ++i)
        for (std::size_t j = 0; j < points.size(); ++j) {
            if (!dominates(points[j], points[i]))
                continue;
            const bool better = !found[i] || points[j].gain > points[*found[i]].gain ||
                                (points[j].gain == points[*found[i]].gain &&
                                 points[j].cost < points[*found[i]].cost);
            if (better)
                found[i] = j;
        }
    return found;
}

std::string pareto_table(std::span<const MeasuredResult> results, const Bootstrap& bootstrap) {
    Csv csv(header);
    for (const TaskChoice& task : task_choices(results))
        add_rows(csv, task, contenders(results, task, bootstrap));
    return csv.text();
}

}  // namespace kvtape
