#include "analyze/comparison.hpp"

#include "analyze/result_table.hpp"
#include "core/parallel.hpp"
#include "core/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

namespace kvtape {
namespace {

constexpr std::string_view header =
    "policy_a,parameters_a,budget_a,query_source_a,policy_b,parameters_b,budget_b,query_source_b,"
    "schedule,task,metric,kept_ratio_a,kept_ratio_b,sequences,mean_a,mean_b,difference,"
    "difference_low,difference_high,wins,ties,losses";
constexpr double tie = 1e-9;

/// What makes two results rivals: everything but the budget.
auto method_of(const MeasuredResult& result) {
    return std::tie(result.policy, result.parameters, result.query_source, result.schedule);
}

double kept_per_head(const KeptTotals& totals) {
    return totals.heads == 0 ? 0.0
                             : static_cast<double>(totals.kept) / static_cast<double>(totals.heads);
}

/// Among the results of the method of `rival`, the one that kept most nearly what `a` kept; of two
/// equally near ones, the first.
std::optional<std::size_t> nearest(std::span<const MeasuredResult> results,
                                   std::size_t a,
                                   std::size_t rival,
                                   const std::vector<KeptTotals>& totals) {
    std::optional<std::size_t> best;
    const auto distance = [&](std::size_t i) {
        return std::abs(kept_per_head(totals[i]) - kept_per_head(totals[a]));
    };
    for (std::size_t i = rival; i < results.size(); ++i)
        if (method_of(results[i]) == method_of(results[rival]) &&
            (!best || distance(i) < distance(*best)))
            best = i;
    return best && equal_budgets(totals[a], totals[*best]) ? best : std::nullopt;
}

Csv& add_name(Csv& csv, const MeasuredResult& result) {
    return csv.field(result.policy)
        .field(result.parameters)
        .field(result.budget.text())
        .field(result.query_source);
}

class Comparison {
  public:
    Comparison(std::span<const MeasuredResult> results, const Bootstrap& bootstrap)
        : results_(results),
          bootstrap_(bootstrap),
          tasks_(task_choices(results)) {
        for (const MeasuredResult& result : results)
            totals_.push_back(kept_totals(result, {.name = "all", .all = true}));
        for (std::size_t i = 0; i < results.size(); ++i)
            if (std::none_of(methods_.begin(), methods_.end(), [&](std::size_t first) {
                    return method_of(results[first]) == method_of(results[i]);
                }))
                methods_.push_back(i);
    }

    /// Rows of one result against the methods that come after its own.
    std::string rows_of(std::size_t a) const {
        Csv rows("");
        const auto own = std::find_if(methods_.begin(), methods_.end(), [&](std::size_t first) {
            return method_of(results_[first]) == method_of(results_[a]);
        });
        for (auto rival = own + 1; rival != methods_.end(); ++rival)
            if (results_[*rival].schedule == results_[a].schedule)
                if (const auto b = nearest(results_, a, *rival, totals_))
                    add_rows(rows, results_[a], results_[*b]);
        return rows.text().substr(1);
    }

  private:
    void add_rows(Csv& rows, const MeasuredResult& a, const MeasuredResult& b) const {
        const std::array both = {&a, &b};
        for (const TaskChoice& task : tasks_)
            for (const ComparedMetric& metric : compared_metrics()) {
                const auto figures = paired_figures(both, task, metric);
                if (figures[0].empty())
                    continue;
                const PairedDifference found =
                    paired_difference(figures[0], figures[1], metric.higher_is_better, bootstrap_);
                add_name(rows, a);
                add_name(rows, b)
                    .field(a.schedule)
                    .field(task.name)
                    .field(metric.name)
                    .field(kept_totals(a, task).ratio())
                    .field(kept_totals(b, task).ratio())
                    .field(found.sequences)
                    .field(found.mean_a)
                    .field(found.mean_b)
                    .field(found.difference.mean)
                    .field(defined(found.difference.low))
                    .field(defined(found.difference.high))
                    .field(found.wins)
                    .field(found.ties)
                    .field(found.losses)
                    .end_row();
            }
    }

    std::span<const MeasuredResult> results_;
    const Bootstrap& bootstrap_;
    std::vector<TaskChoice> tasks_;
    std::vector<KeptTotals> totals_;
    std::vector<std::size_t> methods_;  ///< the first result of each
};

}  // namespace

PairedDifference paired_difference(std::span<const double> a,
                                   std::span<const double> b,
                                   bool higher_is_better,
                                   const Bootstrap& bootstrap) {
    PairedDifference found{.sequences = std::ssize(a),
                           .mean_a = ordered_mean(a),
                           .mean_b = ordered_mean(b),
                           .difference = {}};
    std::vector<double> differences;
    for (std::size_t i = 0; i < a.size(); ++i) {
        differences.push_back(a[i] - b[i]);
        const double gain = higher_is_better ? differences.back() : -differences.back();
        ++(gain > tie ? found.wins : gain < -tie ? found.losses : found.ties);
    }
    found.difference = bootstrap.mean(differences);
    return found;
}

bool equal_budgets(const KeptTotals& a, const KeptTotals& b) {
    const double left = kept_per_head(a), right = kept_per_head(b);
    return std::abs(left - right) <= std::max(1.0, 0.02 * std::max(left, right));
}

std::string comparison_table(std::span<const MeasuredResult> results,
                             const Bootstrap& bootstrap,
                             int threads) {
    const Comparison comparison(results, bootstrap);
    std::vector<std::string> parts(results.size());
    parallel_for(results.size(), threads, [&](std::size_t a) { parts[a] = comparison.rows_of(a); });
    std::string text = Csv(header).text();
    for (const std::string& part : parts)
        text += part;
    return text;
}

}  // namespace kvtape
