#include "tools/agreement_tables.hpp"

#include "analyze/result_table.hpp"

#include <cmath>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

namespace kvtape {
namespace {

/// The `result_columns` of a row.
Csv& begin_row(Csv& csv, const ResultPair& pair) {
    return csv.field(pair.policy)
        .field(pair.parameters)
        .field(pair.budget)
        .field(pair.schedule)
        .field(pair.query_source);
}

}  // namespace

AgreementTables::AgreementTables()
    : agreement_(std::string(result_columns) +
                 "sequence,layer,kv_head,block,tokens,kept_a,kept_b,jaccard"),
      drift_(std::string(result_columns) +
             "block,decoding,sequences,jaccard,jaccard_low,jaccard_high"),
      parting_(std::string(result_columns) + "sequence,layer,kv_head,block,token,score_gap") {}

void AgreementTables::add(const ResultPair& pair, const PairAgreement& found) {
    for (const HeadAgreement& head : found.heads)
        add_head(pair, found, head);
    add_drift(pair, found);
}

void AgreementTables::add_head(const ResultPair& pair,
                               const PairAgreement& found,
                               const HeadAgreement& head) {
    const std::vector<Block>& blocks = found.blocks.at(head.sequence);
    for (std::size_t block = 0; block < head.blocks.size(); ++block) {
        const SetSizes& sizes = head.blocks[block];
        begin_row(agreement_, pair)
            .field(head.sequence)
            .field(std::int64_t{head.layer})
            .field(std::int64_t{head.kv_head})
            .field(static_cast<std::int64_t>(block))
            .field(std::int64_t{blocks[block].end})
            .field(sizes.a)
            .field(sizes.b)
            .field(sizes.jaccard())
            .end_row();
    }
    if (!head.parting_block)
        return;
    begin_row(parting_, pair)
        .field(head.sequence)
        .field(std::int64_t{head.layer})
        .field(std::int64_t{head.kv_head})
        .field(std::int64_t{*head.parting_block})
        .field(std::int64_t{*head.parting_token})
        .field(head.score_gap)
        .end_row();
}

void AgreementTables::add_drift(const ResultPair& pair, const PairAgreement& found) {
    std::vector<Block> longest;
    for (const auto& [sequence, blocks] : found.blocks)
        if (blocks.size() > longest.size())
            longest = blocks;
    for (std::size_t block = 0; block < longest.size(); ++block) {
        std::map<std::string, std::pair<double, int>> sums;
        for (const HeadAgreement& head : found.heads)
            if (block < head.blocks.size()) {
                auto& [sum, count] = sums[head.sequence];
                sum += head.blocks[block].jaccard();
                ++count;
            }
        std::vector<double> means;
        for (const auto& [sequence, sum] : sums)
            means.push_back(sum.first / sum.second);
        begin_row(drift_, pair)
            .field(static_cast<std::int64_t>(block))
            .field(std::int64_t{longest[block].decoding ? 1 : 0})
            .field(std::ssize(means));
        add_interval(drift_, bootstrap_, means).end_row();
    }
}

std::string calibration_csv(const std::vector<MetricCalibration>& rows) {
    Csv csv(
        "metric,task,cells,sequences,spearman,spearman_low,spearman_high,kendall,kendall_low,"
        "kendall_high");
    for (const MetricCalibration& row : rows) {
        csv.field(row.metric)
            .field(row.task.empty() ? std::string_view("all") : std::string_view(row.task))
            .field(row.calibration.cells)
            .field(row.calibration.sequences);
        for (const auto& correlation : {row.calibration.spearman, row.calibration.kendall}) {
            const Correlation shown = correlation.value_or(Correlation{NAN, NAN, NAN});
            csv.field(defined(shown.value)).field(defined(shown.low)).field(defined(shown.high));
        }
        csv.end_row();
    }
    return csv.text();
}

}  // namespace kvtape
