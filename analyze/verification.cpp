#include "analyze/verification.hpp"

#include "analyze/csv_table.hpp"
#include "analyze/decision_diff.hpp"
#include "core/error.hpp"
#include "core/reduce.hpp"
#include "sim/results.hpp"
#include "sim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <span>

namespace kvtape {
namespace {

const std::vector<std::string> index_columns = {
    "file", "policy", "parameters", "budget", "schedule", "query_source"};

void expect_same_trace(const ResultPair& pair, const std::string& file) {
    const DecisionInfo &a = pair.a->info(), &b = pair.b->info();
    if (a.trace_fingerprint != b.trace_fingerprint)
        throw format_error("comparing " + file + " of two directories: one belongs to the trace " +
                           a.trace_fingerprint + ", the other to " + b.trace_fingerprint +
                           "; compare results of one trace");
    if (pair.parameters != b.parameters)
        throw format_error("comparing " + file + " of two directories: one was computed with " +
                           pair.parameters + ", the other with " + b.parameters);
}

/// See HeadAgreement::score_gap. Scores are those of the last decision that saw a token: only what
/// was dropped behind `block` is sure to have been scored there.
std::optional<double> score_gap(const HeadFate& a,
                                const HeadFate& b,
                                std::int32_t block,
                                Position token) {
    if (a.scores.empty() || b.scores.empty())
        return std::nullopt;
    const auto at = static_cast<std::size_t>(token);
    const HeadFate& dropping = a.evicted_at[at] == block ? a : b;
    const std::size_t tokens = std::min(a.scores.size(), b.scores.size());
    double noise = 0.0, border = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < tokens; ++i) {
        const auto score = static_cast<double>(dropping.scores[i]);
        if (dropping.evicted_at[i] == block && std::isfinite(score))
            border = std::max(border, score);
        const double change =
            std::abs(static_cast<double>(a.scores[i]) - static_cast<double>(b.scores[i]));
        if (a.evicted_at[i] == block && b.evicted_at[i] == block && std::isfinite(change))
            noise = std::max(noise, change);
    }
    const auto own = static_cast<double>(dropping.scores[at]);
    if (!std::isfinite(own) || !std::isfinite(border) || noise == 0.0)
        return std::nullopt;
    return (border - own) / noise;
}

/// One KV head of a sequence that both files hold.
HeadAgreement compare_heads(const HeadFate& a, const HeadFate& b, std::span<const Block> blocks) {
    HeadAgreement head;
    head.blocks = agreement(a, b, blocks);
    for (std::int32_t block = 0; block < std::ssize(blocks); ++block) {
        const SetSizes& sizes = head.blocks[static_cast<std::size_t>(block)];
        if (sizes.both == sizes.a && sizes.both == sizes.b)
            continue;
        head.parting_block = block;
        head.parting_token = first_difference(a, b, blocks, block);
        head.score_gap = score_gap(a, b, block, *head.parting_token);
        break;
    }
    return head;
}

/// Those behind which the schedule decides: elsewhere both keep what they kept before.
std::vector<Block> deciding(std::vector<Block> blocks, const Schedule& schedule) {
    if (schedule.once())
        blocks.resize(std::min<std::size_t>(blocks.size(), 1));
    else if (!schedule.decoding())
        blocks.erase(
            std::remove_if(
                blocks.begin(), blocks.end(), [](const Block& block) { return block.decoding; }),
            blocks.end());
    return blocks;
}

}  // namespace

std::vector<ResultPair> pair_results(const std::filesystem::path& a,
                                     const std::filesystem::path& b) {
    const CsvTable first = CsvTable::read(a / "index.csv", index_columns);
    const CsvTable second = CsvTable::read(b / "index.csv", index_columns);
    std::vector<ResultPair> pairs;
    for (std::size_t row = 0; row < first.rows(); ++row) {
        const std::string file = first.text(row, "file");
        for (std::size_t other = 0; other < second.rows(); ++other) {
            if (second.text(other, "file") != file)
                continue;
            pairs.push_back({.policy = first.text(row, "policy"),
                             .parameters = first.text(row, "parameters"),
                             .budget = first.text(row, "budget"),
                             .schedule = first.text(row, "schedule"),
                             .query_source = first.text(row, "query_source"),
                             .a = open_decisions(a / file),
                             .b = open_decisions(b / file)});
            expect_same_trace(pairs.back(), file);
        }
    }
    if (pairs.empty())
        throw format_error("comparing " + a.string() + " with " + b.string() +
                           ": they hold no policy at the same budget, schedule and query source");
    return pairs;
}

std::vector<std::string> unpaired_results(const std::filesystem::path& a,
                                          const std::filesystem::path& b) {
    const CsvTable first = CsvTable::read(a / "index.csv", index_columns);
    const CsvTable second = CsvTable::read(b / "index.csv", index_columns);
    std::set<std::string> held;
    for (std::size_t row = 0; row < first.rows(); ++row)
        held.insert(first.text(row, "file"));
    std::vector<std::string> names;
    for (std::size_t row = 0; row < second.rows(); ++row)
        if (!held.contains(second.text(row, "file")))
            names.push_back(second.text(row, "policy") + " at " + second.text(row, "budget"));
    return names;
}

PairAgreement agreement_of(const ResultPair& pair) {
    PairAgreement result;
    const Schedule schedule = Schedule::parse(pair.schedule);
    std::vector<double> jaccards;
    for (std::int32_t i = 0; i < pair.a->sequences(); ++i) {
        const DecisionSequence& sequence = pair.a->sequence(i);
        const auto place = place_of(*pair.b, sequence.name);
        if (!place)
            continue;
        const std::vector<Block> blocks =
            deciding(common_blocks(sequence.blocks, pair.b->sequence(*place).blocks), schedule);
        result.blocks[sequence.name] = blocks;
        const std::vector<std::int32_t>& others = pair.b->layers(*place);
        for (const std::int32_t layer : pair.a->layers(i)) {
            if (!std::binary_search(others.begin(), others.end(), layer))
                continue;
            const LayerFate a = pair.a->load(i, layer), b = pair.b->load(*place, layer);
            for (std::int32_t head = 0; head < pair.a->kv_heads(i); ++head) {
                HeadAgreement& one = result.heads.emplace_back(compare_heads(
                    head_of(a, *pair.a, i, head), head_of(b, *pair.b, *place, head), blocks));
                one.sequence = sequence.name;
                one.layer = layer;
                one.kv_head = head;
                result.identical = result.identical && !one.parting_block;
                for (const SetSizes& sizes : one.blocks) {
                    jaccards.push_back(sizes.jaccard());
                    result.least = std::min(result.least, jaccards.back());
                }
            }
        }
    }
    if (jaccards.empty())
        throw format_error("comparing " + pair.policy + " at " + pair.budget +
                           ": the two files have no sequence and layer in common");
    result.jaccard = ordered_mean(jaccards);
    return result;
}

}  // namespace kvtape
