#include "analyze/query_sources.hpp"

#include "analyze/result_table.hpp"

#include <algorithm>

namespace kvtape {
namespace {

constexpr std::array<std::string_view, 3> sources = {"agnostic", "question", "oracle"};
constexpr std::string_view header =
    "policy,parameters,budget,schedule,task,metric,sequences,agnostic,agnostic_low,agnostic_high,"
    "question,question_low,question_high,oracle,oracle_low,oracle_high,question_gain,"
    "question_gain_low,question_gain_high,oracle_gain,oracle_gain_low,oracle_gain_high,"
    "question_share";

/// One spec at one budget under each source; null where the directory lacks it.
using Sources = std::array<const MeasuredResult*, sources.size()>;

auto key_of(const MeasuredResult& result) {
    return std::tie(result.policy, result.parameters, result.schedule);
}

std::vector<Sources> by_source(std::span<const MeasuredResult> results) {
    std::vector<Sources> found;
    for (const MeasuredResult& result : results) {
        const auto source = std::find(sources.begin(), sources.end(), result.query_source);
        if (source == sources.end())
            continue;
        const auto same = [&](const Sources& other) {
            const MeasuredResult& first = **std::find_if(
                other.begin(), other.end(), [](const auto* held) { return held != nullptr; });
            return key_of(first) == key_of(result) && first.budget.text() == result.budget.text();
        };
        auto place = std::find_if(found.begin(), found.end(), same);
        if (place == found.end())
            place = found.insert(found.end(), Sources{});
        (*place)[static_cast<std::size_t>(source - sources.begin())] = &result;
    }
    std::erase_if(found, [](const Sources& held) {
        return std::count(held.begin(), held.end(), nullptr) > 1;
    });
    return found;
}

std::vector<double> gains(const std::vector<double>& with, const std::vector<double>& without) {
    std::vector<double> found;
    for (std::size_t i = 0; i < std::min(with.size(), without.size()); ++i)
        found.push_back(with[i] - without[i]);
    return found;
}

/// One row: the figures of each source over the sequences that all of them hold; empty for a source
/// that is not there.
void add_row(Csv& csv,
             const Sources& held,
             const TaskChoice& task,
             const ComparedMetric& metric,
             const Bootstrap& bootstrap) {
    std::vector<const MeasuredResult*> present;
    std::copy_if(held.begin(), held.end(), std::back_inserter(present), [](const auto* result) {
        return result != nullptr;
    });
    std::vector<std::vector<double>> paired = paired_figures(present, task, metric);
    if (paired[0].empty())
        return;
    const auto sequences = std::ssize(paired[0]);
    std::array<std::vector<double>, sources.size()> figures;
    for (std::size_t source = 0, next = 0; source < sources.size(); ++source)
        if (held[source] != nullptr)
            figures[source] = std::move(paired[next++]);
    const auto& [agnostic, question, oracle] = figures;
    csv.field(present[0]->policy)
        .field(present[0]->parameters)
        .field(present[0]->budget.text())
        .field(present[0]->schedule)
        .field(task.name)
        .field(metric.name)
        .field(sequences);
    for (const std::vector<double>& of_source : figures)
        add_interval(csv, bootstrap, of_source);
    const std::vector<double> gain = gains(question, agnostic);
    add_interval(csv, bootstrap, gain);
    add_interval(csv, bootstrap, gains(oracle, agnostic));
    const double success = question.empty() ? 0.0 : bootstrap.mean(question).mean;
    csv.field(gain.empty() || success == 0.0 ? std::nullopt
                                             : std::optional(bootstrap.mean(gain).mean / success))
        .end_row();
}

}  // namespace

std::string query_source_table(std::span<const MeasuredResult> results,
                               const Bootstrap& bootstrap) {
    Csv csv(header);
    const std::vector<TaskChoice> tasks = task_choices(results);
    for (const Sources& held : by_source(results))
        for (const TaskChoice& task : tasks)
            for (const ComparedMetric& metric : compared_metrics())
                add_row(csv, held, task, metric, bootstrap);
    return csv.text();
}

}  // namespace kvtape
