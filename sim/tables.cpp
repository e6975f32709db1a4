#include "sim/tables.hpp"

#include "core/reduce.hpp"
#include "sim/autopsy.hpp"
#include "sim/csv.hpp"
#include "sim/evaluate_results.hpp"
#include "sim/metrics/needle.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace kvtape {
namespace {

constexpr std::string_view recall_header =
    "policy,parameters,budget,schedule,query_source,sequence,task,layer,kv_head,tokens,kept,"
    "kept_bytes,needle_tokens,needle_kept,needle_recall,needle_recall_weight,mass_kept,"
    "output_error_median,output_error_p95";
constexpr std::string_view summary_header =
    "policy,parameters,budget,schedule,query_source,task,sequences,kept_ratio,kept_bytes_ratio,"
    "needle_recall,needle_recall_low,needle_recall_high,needle_recall_weighted,"
    "needle_recall_weighted_low,needle_recall_weighted_high,needle_intact_heads,mass_kept,"
    "output_error_median,regret";
constexpr std::string_view readers_header =
    "policy,parameters,budget,schedule,query_source,sequence,task,needle_read,"
    "needle_recall_readers";
constexpr std::string_view autopsy_header =
    "policy,parameters,budget,schedule,query_source,sequence,task,layer,kv_head,position,"
    "evicted_block,score,rank,cut_off";

Csv& begin_row(Csv& csv, const Result& result) {
    return csv.field(result.policy)
        .field(result.parameters)
        .field(result.budget.text())
        .field(result.schedule)
        .field(result.query_source);
}

std::string recall_table(const Trace& trace,
                         const std::vector<Result>& results,
                         const EvaluatedHeads& heads) {
    Csv csv(recall_header);
    for (std::size_t r = 0; r < results.size(); ++r)
        for (std::size_t s = 0; s < heads[r].size(); ++s) {
            const SequenceInfo& sequence = trace.sequence(static_cast<std::int32_t>(s));
            for (const HeadResult& head : heads[r][s]) {
                begin_row(csv, results[r]).field(sequence.name).field(sequence.task);
                csv.field(std::int64_t{head.layer})
                    .field(std::int64_t{head.kv_head})
                    .field(head.tokens)
                    .field(head.kept)
                    .field(head.kept_bytes)
                    .field(head.needle_tokens)
                    .field(head.needle_kept)
                    .field(head.needle_recall());
                csv.field(head.needle_tokens > 0 ? std::optional(head.needle_weight) : std::nullopt)
                    .field(head.mass_kept)
                    .field(head.output_error_median)
                    .field(head.output_error_p95)
                    .end_row();
            }
        }
    return csv.text();
}

/// Summaries of one result: of each sequence it holds, by task, and over all.
struct ResultSummary {
    std::map<std::string, SequenceSummary> sequences;  ///< by name
    std::map<std::string, TaskSummary> tasks;
    TaskSummary all;
};

ResultSummary summarise_result(const Trace& trace,
                               const std::vector<std::vector<HeadResult>>& heads,
                               const Bootstrap& bootstrap) {
    ResultSummary summary;
    std::map<std::string, std::vector<SequenceSummary>> by_task;
    std::vector<SequenceSummary> all;
    for (std::size_t s = 0; s < heads.size(); ++s) {
        if (heads[s].empty())
            continue;
        const SequenceInfo& sequence = trace.sequence(static_cast<std::int32_t>(s));
        all.push_back(summarise(sequence.task, heads[s], trace.info().shape.entry_bytes()));
        by_task[sequence.task].push_back(all.back());
        summary.sequences[sequence.name] = all.back();
    }
    summary.all = summarise(all, bootstrap);
    for (const auto& [task, sequences] : by_task)
        summary.tasks[task] = summarise(sequences, bootstrap);
    return summary;
}

bool same_budget(const Budget& a, const Budget& b) {
    return !(a < b) && !(b < a);
}

/// Share of the context of the sequences in a result that its budget stands for.
double asked_ratio(const Trace& trace,
                   const Budget& budget,
                   const std::vector<std::vector<HeadResult>>& heads) {
    std::int64_t asked = 0, all = 0;
    for (std::size_t s = 0; s < heads.size(); ++s) {
        const Position tokens = trace.sequence(static_cast<std::int32_t>(s)).context_len;
        const std::int64_t rows = std::ssize(heads[s]);
        all += rows * tokens;
        if (rows > 0)
            asked += rows * budget.tokens_of(tokens, trace.info().shape);
    }
    return all > 0 ? static_cast<double>(asked) / static_cast<double>(all) : 0.0;
}

/// The oracle's weighted recall minus this one's at the same budget and schedule: the mean over the
/// sequences of the task that both hold.
std::optional<double> regret(const std::vector<Result>& results,
                             const std::vector<ResultSummary>& summaries,
                             std::size_t result,
                             const std::string& task) {
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (results[i].policy != "oracle" || results[i].schedule != results[result].schedule ||
            !same_budget(results[i].budget, results[result].budget))
            continue;
        std::vector<double> differences;
        for (const auto& [name, own] : summaries[result].sequences) {
            const auto best = summaries[i].sequences.find(name);
            if (own.task == task && own.needle_recall_weighted &&
                best != summaries[i].sequences.end() && best->second.needle_recall_weighted)
                differences.push_back(*best->second.needle_recall_weighted -
                                      *own.needle_recall_weighted);
        }
        if (!differences.empty())
            return ordered_mean(differences);
    }
    return std::nullopt;
}

void add_interval(Csv& csv, const std::optional<Interval>& interval) {
    const auto part = [&](double Interval::*member) {
        return interval && !std::isnan(*interval.*member) ? std::optional(*interval.*member)
                                                          : std::nullopt;
    };
    csv.field(part(&Interval::mean)).field(part(&Interval::low)).field(part(&Interval::high));
}

std::string summary_table(const std::vector<Result>& results,
                          const std::vector<ResultSummary>& summaries) {
    Csv csv(summary_header);
    for (std::size_t r = 0; r < results.size(); ++r)
        for (const auto& [task, summary] : summaries[r].tasks) {
            begin_row(csv, results[r]).field(task).field(summary.sequences);
            csv.field(summary.kept_ratio).field(summary.kept_bytes_ratio);
            add_interval(csv, summary.needle_recall);
            add_interval(csv, summary.needle_recall_weighted);
            csv.field(summary.needle_intact_heads)
                .field(summary.mass_kept)
                .field(summary.output_error_median)
                .field(regret(results, summaries, r, task))
                .end_row();
        }
    return csv.text();
}

std::string readers_table(const std::vector<Result>& results,
                          const std::vector<ResultSummary>& summaries) {
    Csv csv(readers_header);
    for (std::size_t r = 0; r < results.size(); ++r)
        for (const auto& [name, sequence] : summaries[r].sequences)
            begin_row(csv, results[r])
                .field(name)
                .field(sequence.task)
                .field(sequence.needle_read)
                .field(sequence.needle_recall_readers)
                .end_row();
    return csv.text();
}

void add_lost_tokens(Csv& csv,
                     const Result& result,
                     const SequenceInfo& sequence,
                     std::int32_t layer,
                     const LayerFate& fate,
                     std::size_t kv_heads) {
    const auto tokens = static_cast<std::size_t>(sequence.length());
    const auto context = static_cast<std::size_t>(sequence.context_len);
    const std::vector<Position> needle = needle_positions(sequence);
    for (std::size_t head = 0; head < kv_heads; ++head)
        for (const LostToken& lost :
             autopsy(needle,
                     std::span(fate.evicted_at).subspan(head * tokens, context),
                     std::span(fate.scores).subspan(head * tokens, context))) {
            begin_row(csv, result).field(sequence.name).field(sequence.task);
            csv.field(std::int64_t{layer})
                .field(static_cast<std::int64_t>(head))
                .field(std::int64_t{lost.position})
                .field(std::int64_t{lost.block})
                .field(lost.score);
            if (lost.rank)
                csv.field(*lost.rank);
            else
                csv.field(std::optional<double>());
            csv.field(lost.cut_off).end_row();
        }
}

std::string autopsy_table(const Trace& trace, const std::vector<Result>& results) {
    Csv csv(autopsy_header);
    bool scored = false;
    const auto kv_heads = static_cast<std::size_t>(trace.info().shape.kv_heads);
    for (const Result& result : results)
        for (std::int32_t s = 0; s < trace.sequences(); ++s) {
            const SequenceInfo& sequence = trace.sequence(s);
            const auto place = place_of(*result.decisions, sequence.name);
            if (!place)
                continue;
            for (const std::int32_t layer : result.decisions->layers(*place)) {
                const LayerFate fate = result.decisions->load(*place, layer);
                if (fate.scores.empty())
                    break;
                scored = true;
                add_lost_tokens(csv, result, sequence, layer, fate, kv_heads);
            }
        }
    return scored ? csv.text() : "";
}

}  // namespace

Tables make_tables(const Trace& trace,
                   const std::vector<Result>& results,
                   int threads,
                   const StepReport& report) {
    const EvaluatedHeads heads = evaluate_results(trace, results, threads, report);
    const Bootstrap bootstrap;
    std::vector<ResultSummary> summaries;
    for (const auto& of_result : heads)
        summaries.push_back(summarise_result(trace, of_result, bootstrap));
    Tables tables{.recall_csv = recall_table(trace, results, heads),
                  .summary_csv = summary_table(results, summaries),
                  .readers_csv = readers_table(results, summaries),
                  .autopsy_csv = autopsy_table(trace, results),
                  .cells = {}};
    for (std::size_t r = 0; r < results.size(); ++r)
        tables.cells.push_back({.policy = results[r].policy,
                                .query_source = results[r].query_source,
                                .schedule = results[r].schedule,
                                .budget = results[r].budget.text(),
                                .asked_ratio = asked_ratio(trace, results[r].budget, heads[r]),
                                .summary = summaries[r].all});
    return tables;
}

}  // namespace kvtape
