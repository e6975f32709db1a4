#include "analyze/decision_diff.hpp"

#include "analyze/changed_entries.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/reduce.hpp"
#include "sim/metrics/needle.hpp"
#include "sim/results.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace kvtape {
namespace {

Position decided_until(const std::string& schedule, const std::vector<Block>& blocks) {
    Position end = 0;
    for (const Block& block : blocks) {
        if (block.decoding)
            break;
        end = block.end;
        if (schedule == "prefill")
            break;
    }
    return end;
}

template <typename Value>
std::vector<Value> without(const std::vector<Value>& all, const std::vector<Value>& others) {
    std::vector<Value> rest;
    std::set_difference(
        all.begin(), all.end(), others.begin(), others.end(), std::back_inserter(rest));
    return rest;
}

/// The sequences of a file that were asked for, ascending.
std::vector<std::string> names_in(const DecisionFile& file, const DiffRequest& request) {
    std::vector<std::string> names;
    for (std::int32_t index = 0; index < file.sequences(); ++index) {
        const std::string& name = file.sequence(index).name;
        const auto& wanted = request.sequences;
        if (wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end())
            names.push_back(name);
    }
    return names;
}

void expect_same_trace(const DiffRequest& request) {
    const std::string& of_a = request.a->info().trace_fingerprint;
    const std::string& of_b = request.b->info().trace_fingerprint;
    if (of_a != of_b)
        throw format_error("comparing decisions: A belongs to the trace " + of_a + ", B to " +
                           of_b + "; compare decisions over the same trace");
    if (request.trace != nullptr && request.trace->info().fingerprint != of_a)
        throw format_error("comparing decisions: they belong to the trace " + of_a +
                           ", but --trace has the fingerprint " +
                           request.trace->info().fingerprint);
}

void expect_same(const std::string& sequence,
                 const char* what,
                 std::int64_t in_a,
                 std::int64_t in_b,
                 const char* other) {
    if (in_a != in_b)
        throw format_error("comparing decisions: sequence " + sequence + " has " +
                           std::to_string(in_a) + ' ' + what + " in A and " + std::to_string(in_b) +
                           " in " + other + "; one of the files is malformed");
}

/// A live run may have answered with more or fewer tokens than were recorded.
bool is_live(const DecisionFile& file) {
    return file.info().loop != "replay";
}

/// What a side did with the first `tokens` tokens, which both went through.
HeadFate first(HeadFate fate, std::size_t tokens) {
    fate.evicted_at = fate.evicted_at.first(tokens);
    fate.merged_into = fate.merged_into.first(tokens);
    fate.scores = fate.scores.first(std::min(tokens, fate.scores.size()));
    while (!fate.blocks.empty() && fate.blocks.back().end > static_cast<Position>(tokens))
        fate.blocks = fate.blocks.first(fate.blocks.size() - 1);
    return fate;
}

SequenceDiff matched(const DiffRequest& request, const std::string& name) {
    const DecisionFile& a = *request.a;
    const DecisionFile& b = *request.b;
    SequenceDiff diff;
    diff.name = name;
    diff.place_a = *place_of(a, name);
    diff.place_b = *place_of(b, name);
    const auto& in_a = a.layers(diff.place_a);
    const auto& in_b = b.layers(diff.place_b);
    diff.layers_only_a = without(in_a, in_b);
    diff.layers_only_b = without(in_b, in_a);
    diff.layers = without(in_a, diff.layers_only_a);
    if (diff.layers.empty())
        return diff;
    if (!is_live(a) && !is_live(b))
        expect_same(name, "tokens", a.tokens(diff.place_a), b.tokens(diff.place_b), "B");
    expect_same(name, "KV heads", a.kv_heads(diff.place_a), b.kv_heads(diff.place_b), "B");
    diff.moment = moment_of(a.info(), a.sequence(diff.place_a), b.info(), b.sequence(diff.place_b));
    if (request.trace == nullptr)
        return diff;
    const auto place = place_in(*request.trace, name);
    if (!place)
        throw format_error("comparing decisions: --trace has no sequence " + name);
    const std::int64_t recorded = request.trace->sequence(*place).length();
    if (!is_live(a))
        expect_same(name, "tokens", a.tokens(diff.place_a), recorded, "--trace");
    if (!is_live(b))
        expect_same(name, "tokens", b.tokens(diff.place_b), recorded, "--trace");
    return diff;
}

/// One layer of one sequence of both files.
struct Cell {
    std::size_t sequence = 0;
    std::int32_t layer = 0;
    std::vector<HeadDiff> heads;
    bool scores_a = false, scores_b = false;
};

void compare_layer(const DiffRequest& request, const SequenceDiff& sequence, Cell& cell) {
    const LayerFate a = request.a->load(sequence.place_a, cell.layer);
    const LayerFate b = request.b->load(sequence.place_b, cell.layer);
    cell.scores_a = !a.scores.empty();
    cell.scores_b = !b.scores.empty();
    std::vector<Position> needle;
    if (request.trace != nullptr)
        needle =
            needle_positions(request.trace->sequence(*place_in(*request.trace, sequence.name)));
    const auto tokens = static_cast<std::size_t>(
        std::min(request.a->tokens(sequence.place_a), request.b->tokens(sequence.place_b)));
    for (std::int32_t head = 0; head < request.a->kv_heads(sequence.place_a); ++head) {
        const HeadFate in_a = first(head_of(a, *request.a, sequence.place_a, head), tokens);
        const HeadFate in_b = first(head_of(b, *request.b, sequence.place_b, head), tokens);
        HeadDiff diff = compare_heads(in_a, in_b, sequence.moment, needle);
        if (!a.merged.entries.empty() || !b.merged.entries.empty())
            diff.changed_differently =
                changed_differently({a.merged, request.a->sequence(sequence.place_a).blocks},
                                    {b.merged, request.b->sequence(sequence.place_b).blocks},
                                    head,
                                    keepers(in_a, in_b, sequence.moment));
        diff.layer = cell.layer;
        diff.head = head;
        cell.heads.push_back(std::move(diff));
    }
}

void add_totals(DecisionDiff& diff) {
    std::vector<double> jaccards, overlaps, taus;
    for (const SequenceDiff& sequence : diff.sequences)
        for (const HeadDiff& head : sequence.heads) {
            ++diff.heads;
            diff.heads_identical += head.identical() ? 1 : 0;
            diff.heads_tied += head.tie_only ? 1 : 0;
            diff.kept_both += head.kept.both;
            diff.changed_differently += head.changed_differently;
            // Sets that differ inside a tie count as the same set.
            jaccards.push_back(head.tie_only ? 1.0 : head.kept.jaccard());
            overlaps.push_back(head.tie_only ? 1.0 : head.kept.overlap());
            if (head.kendall_tau)
                taus.push_back(*head.kendall_tau);
        }
    if (diff.heads == 0)
        throw format_error("comparing decisions: A and B have no layer of any sequence in common");
    diff.jaccard = ordered_mean(jaccards);
    diff.overlap = ordered_mean(overlaps);
    if (!taus.empty())
        diff.kendall_tau = ordered_mean(taus);
}

}  // namespace

bool DecisionDiff::identical() const {
    const bool covered =
        sequences_only_a.empty() && sequences_only_b.empty() &&
        std::all_of(sequences.begin(), sequences.end(), [](const SequenceDiff& sequence) {
            return sequence.layers_only_a.empty() && sequence.layers_only_b.empty();
        });
    return covered && heads == heads_identical;
}

Position moment_of(const DecisionInfo& a,
                   const DecisionSequence& in_a,
                   const DecisionInfo& b,
                   const DecisionSequence& in_b) {
    return std::max(decided_until(a.schedule, in_a.blocks), decided_until(b.schedule, in_b.blocks));
}

std::optional<std::int32_t> place_in(const Trace& trace, const std::string& sequence) {
    for (std::int32_t index = 0; index < trace.sequences(); ++index)
        if (trace.sequence(index).name == sequence)
            return index;
    return std::nullopt;
}

HeadFate head_of(const LayerFate& fate,
                 const DecisionFile& file,
                 std::int32_t sequence,
                 std::int32_t head) {
    const auto tokens = static_cast<std::size_t>(file.tokens(sequence));
    const std::size_t begin = static_cast<std::size_t>(head) * tokens;
    return {.evicted_at = std::span(fate.evicted_at).subspan(begin, tokens),
            .merged_into = std::span(fate.merged_into).subspan(begin, tokens),
            .scores = fate.scores.empty() ? std::span<const float>()
                                          : std::span(fate.scores).subspan(begin, tokens),
            .blocks = file.sequence(sequence).blocks};
}

DecisionDiff compare_decisions(const DiffRequest& request) {
    expect_same_trace(request);
    const std::vector<std::string> in_a = names_in(*request.a, request);
    const std::vector<std::string> in_b = names_in(*request.b, request);
    for (const std::string& wanted : request.sequences)
        if (!std::binary_search(in_a.begin(), in_a.end(), wanted) &&
            !std::binary_search(in_b.begin(), in_b.end(), wanted))
            throw usage_error("comparing decisions: neither A nor B has a sequence " + wanted);
    DecisionDiff diff;
    diff.sequences_only_a = without(in_a, in_b);
    diff.sequences_only_b = without(in_b, in_a);
    std::vector<Cell> cells;
    for (const std::string& name : without(in_a, diff.sequences_only_a)) {
        diff.sequences.push_back(matched(request, name));
        for (const std::int32_t layer : diff.sequences.back().layers)
            cells.push_back({.sequence = diff.sequences.size() - 1, .layer = layer, .heads = {}});
    }
    parallel_for(cells.size(), request.threads, [&](std::size_t i) {
        compare_layer(request, diff.sequences[cells[i].sequence], cells[i]);
    });
    diff.scores_a = diff.scores_b = true;
    for (Cell& cell : cells) {
        auto& heads = diff.sequences[cell.sequence].heads;
        std::move(cell.heads.begin(), cell.heads.end(), std::back_inserter(heads));
        diff.scores_a = diff.scores_a && cell.scores_a;
        diff.scores_b = diff.scores_b && cell.scores_b;
    }
    add_totals(diff);
    return diff;
}

}  // namespace kvtape
