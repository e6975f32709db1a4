#include "tools/diff_tables.hpp"

#include "policies/spec.hpp"
#include "sim/csv.hpp"
#include "tools/visible_text.hpp"

#include <cstdio>

namespace kvtape {
namespace {

constexpr std::string_view csv_columns =
    "sequence,layer,kv_head,kept_a,kept_b,kept_both,jaccard,overlap,jaccard_end,only_a,only_b,"
    "part_at,part_block_a,part_block_b,identical,tie,merged_differently,changed_differently,"
    "kendall_tau,needle_tokens,needle_a,needle_b,needle_lost,needle_gained";

Json json_of(const std::vector<TokenRange>& ranges) {
    Json list = Json::array();
    for (const TokenRange& range : ranges)
        list.push_back({range.begin, range.end});
    return list;
}

Json json_of(const DecisionInfo& info, const std::string& file) {
    return {{"file", file},
            {"policy", info.policy},
            {"caveat", caveat_of(info.policy)},
            {"parameters", info.parameters},
            {"budget", info.budget},
            {"schedule", info.schedule},
            {"query_source", info.query_source},
            {"loop", info.loop},
            {"seed", info.seed},
            {"fingerprint", info.fingerprint}};
}

Json json_of(const std::optional<double>& number) {
    return number ? Json(*number) : Json();
}

Json json_of(const HeadDiff& head, bool with_needles) {
    Json json = {{"layer", head.layer},
                 {"kv_head", head.head},
                 {"kept_a", head.kept.a},
                 {"kept_b", head.kept.b},
                 {"kept_both", head.kept.both},
                 {"jaccard", head.kept.jaccard()},
                 {"overlap", head.kept.overlap()},
                 {"jaccard_end", head.left.jaccard()},
                 {"only_a", json_of(head.only_a)},
                 {"only_b", json_of(head.only_b)},
                 {"part_at", head.part_at ? Json(*head.part_at) : Json()},
                 {"part_block_a", head.part_at ? Json(head.part_block_a) : Json()},
                 {"part_block_b", head.part_at ? Json(head.part_block_b) : Json()},
                 {"identical", head.identical()},
                 {"tie", head.tie_only},
                 {"merged_differently", head.merged_differently},
                 {"changed_differently", head.changed_differently},
                 {"kendall_tau", json_of(head.kendall_tau)}};
    if (with_needles) {
        json["needle_tokens"] = head.needle_tokens;
        json["needle_a"] = head.needle_a;
        json["needle_b"] = head.needle_b;
        json["needle_lost"] = head.needle_lost;
        json["needle_gained"] = head.needle_gained;
    }
    return json;
}

void add_row(Csv& csv, const std::string& sequence, const HeadDiff& head, bool with_needles) {
    const auto whole = [](std::int64_t number) { return number; };
    const auto place = [&](std::int32_t number) {
        if (head.part_at)
            csv.field(std::int64_t{number});
        else
            csv.field("");
    };
    csv.field(sequence)
        .field(whole(head.layer))
        .field(whole(head.head))
        .field(head.kept.a)
        .field(head.kept.b)
        .field(head.kept.both)
        .field(head.kept.jaccard())
        .field(head.kept.overlap())
        .field(head.left.jaccard())
        .field(text_of(head.only_a))
        .field(text_of(head.only_b));
    place(head.part_at.value_or(0));
    place(head.part_block_a);
    place(head.part_block_b);
    csv.field(head.identical() ? "yes" : "no")
        .field(head.tie_only ? "yes" : "no")
        .field(head.merged_differently)
        .field(head.changed_differently)
        .field(head.kendall_tau);
    for (const std::int64_t count :
         {head.needle_tokens, head.needle_a, head.needle_b, head.needle_lost, head.needle_gained})
        if (with_needles)
            csv.field(count);
        else
            csv.field("");
    csv.end_row();
}

}  // namespace

std::string text_of(const std::vector<TokenRange>& ranges) {
    std::string text;
    for (const TokenRange& range : ranges) {
        if (!text.empty())
            text += ',';
        text += std::to_string(range.begin);
        if (range.end - range.begin > 1)
            text.append("-").append(std::to_string(range.end - 1));
    }
    return text;
}

std::string title_of(const DecisionInfo& info) {
    return visible_text(info.policy + " at " + info.budget + " (" + info.schedule + ", " +
                        info.query_source + ", " + info.loop + ')');
}

std::string three_digits(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3f", number);
    return text;
}

std::string changed_note(const DecisionDiff& diff) {
    if (diff.changed_differently == 0)
        return "";
    return "Of " + std::to_string(diff.kept_both) + " entries that both keep, " +
           std::to_string(diff.changed_differently) +
           " hold other keys or values in one cache than in the other. Compared is which tokens "
           "are kept, not what became of them.";
}

std::string diff_csv(const DiffSubject& subject) {
    Csv csv(csv_columns);
    for (const SequenceDiff& sequence : subject.diff.sequences)
        for (const HeadDiff& head : sequence.heads)
            add_row(csv, sequence.name, head, subject.request.trace != nullptr);
    return csv.text();
}

Json diff_json(const DiffSubject& subject) {
    const DecisionDiff& diff = subject.diff;
    Json sequences = Json::array();
    for (const SequenceDiff& sequence : diff.sequences) {
        Json heads = Json::array();
        for (const HeadDiff& head : sequence.heads)
            heads.push_back(json_of(head, subject.request.trace != nullptr));
        sequences.push_back({{"name", sequence.name},
                             {"compared_at", sequence.moment},
                             {"layers_only_a", sequence.layers_only_a},
                             {"layers_only_b", sequence.layers_only_b},
                             {"heads", heads}});
    }
    return {{"a", json_of(subject.request.a->info(), subject.name_a)},
            {"b", json_of(subject.request.b->info(), subject.name_b)},
            {"trace_fingerprint", subject.request.a->info().trace_fingerprint},
            {"jaccard", diff.jaccard},
            {"overlap", diff.overlap},
            {"kendall_tau", json_of(diff.kendall_tau)},
            {"identical", diff.identical()},
            {"scores_a", diff.scores_a},
            {"scores_b", diff.scores_b},
            {"heads", diff.heads},
            {"heads_identical", diff.heads_identical},
            {"heads_tied", diff.heads_tied},
            {"kept_both", diff.kept_both},
            {"changed_differently", diff.changed_differently},
            {"sequences_only_a", diff.sequences_only_a},
            {"sequences_only_b", diff.sequences_only_b},
            {"sequences", sequences}};
}

}  // namespace kvtape
