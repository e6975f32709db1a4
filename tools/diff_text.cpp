#include "policies/spec.hpp"
#include "sim/metrics/needle.hpp"
#include "tools/diff_tables.hpp"
#include "tools/table.hpp"
#include "tools/visible_text.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <map>
#include <utility>

namespace kvtape {
namespace {

constexpr std::size_t heads_shown = 6, ranges_shown = 6, needle_rows_shown = 24;
constexpr Position context_shown = 4;  ///< tokens of text before and behind a difference

std::string shortest(double number) {
    char text[64];
    return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

/// Heads of one layer and number over all sequences.
struct Mean {
    std::int64_t count = 0, kept_a = 0, kept_b = 0, only_a = 0, only_b = 0, merged = 0;
    std::int64_t identical = 0, needle = 0, needle_a = 0, needle_b = 0, with_tau = 0;
    double jaccard = 0.0, overlap = 0.0, tau = 0.0;
    std::optional<Position> part_at;
    std::int32_t block_a = -1, block_b = -1;

    void include(const HeadDiff& head) {
        ++count;
        kept_a += head.kept.a;
        kept_b += head.kept.b;
        only_a += head.kept.a - head.kept.both;
        only_b += head.kept.b - head.kept.both;
        merged += head.merged_differently;
        identical += head.identical() ? 1 : 0;
        needle += head.needle_tokens;
        needle_a += head.needle_a;
        needle_b += head.needle_b;
        jaccard += head.kept.jaccard();
        overlap += head.kept.overlap();
        tau += head.kendall_tau.value_or(0.0);
        with_tau += head.kendall_tau ? 1 : 0;
        if (head.part_at && (!part_at || *head.part_at < *part_at)) {
            part_at = head.part_at;
            block_a = head.part_block_a;
            block_b = head.part_block_b;
        }
    }
};

std::string block_text(std::int32_t in_a, std::int32_t in_b) {
    return in_a == in_b ? std::to_string(in_a) : std::to_string(in_a) + '/' + std::to_string(in_b);
}

std::string head_table(const DiffSubject& subject) {
    std::map<std::pair<std::int32_t, std::int32_t>, Mean> means;
    std::int64_t merged = 0;
    for (const SequenceDiff& sequence : subject.diff.sequences)
        for (const HeadDiff& head : sequence.heads) {
            means[{head.layer, head.head}].include(head);
            merged += head.merged_differently;
        }
    const bool with_needles = subject.request.trace != nullptr;
    std::vector<std::vector<std::string>> rows = {{"layer.head",
                                                   "jaccard",
                                                   "overlap",
                                                   "kept A",
                                                   "kept B",
                                                   "only A",
                                                   "only B",
                                                   "part at token",
                                                   "block",
                                                   "tau"}};
    if (merged > 0)
        rows[0].push_back("merged otherwise");
    if (with_needles)
        rows[0].insert(rows[0].end(), {"needle", "in A", "in B"});
    rows[0].push_back("identical");
    for (const auto& [key, mean] : means) {
        const auto count = static_cast<double>(mean.count);
        std::vector<std::string> row = {
            std::to_string(key.first) + '.' + std::to_string(key.second),
            three_digits(mean.jaccard / count),
            three_digits(mean.overlap / count),
            std::to_string(mean.kept_a),
            std::to_string(mean.kept_b),
            std::to_string(mean.only_a),
            std::to_string(mean.only_b),
            mean.part_at ? std::to_string(*mean.part_at) : "-",
            mean.part_at ? block_text(mean.block_a, mean.block_b) : "-",
            mean.with_tau > 0 ? three_digits(mean.tau / static_cast<double>(mean.with_tau)) : "-"};
        if (merged > 0)
            row.push_back(std::to_string(mean.merged));
        if (with_needles)
            for (const std::int64_t number : {mean.needle, mean.needle_a, mean.needle_b})
                row.push_back(std::to_string(number));
        row.push_back(std::to_string(mean.identical) + " of " + std::to_string(mean.count));
        rows.push_back(std::move(row));
    }
    return text_table(rows);
}

std::string needle_table(const DiffSubject& subject) {
    std::vector<std::vector<std::string>> rows = {
        {"sequence layer.head", "needle", "in A", "in B", "lost", "gained"}};
    std::size_t left_out = 0;
    for (const SequenceDiff& sequence : subject.diff.sequences)
        for (const HeadDiff& head : sequence.heads) {
            if (head.needle_lost == 0 && head.needle_gained == 0)
                continue;
            if (rows.size() > needle_rows_shown) {
                ++left_out;
                continue;
            }
            rows.push_back(
                {sequence.name + ' ' + std::to_string(head.layer) + '.' + std::to_string(head.head),
                 std::to_string(head.needle_tokens),
                 std::to_string(head.needle_a),
                 std::to_string(head.needle_b),
                 std::to_string(head.needle_lost),
                 std::to_string(head.needle_gained)});
        }
    if (rows.size() == 1)
        return "No needle token changes sides.\n";
    std::string text = "Needle tokens that A keeps and B loses, and that B gains:\n\n";
    text += text_table(rows);
    if (left_out > 0)
        text += "... and " + std::to_string(left_out) + " more: --json and --csv have all\n";
    return text;
}

/// The text of a sequence, and which of its tokens are needles.
class TokenText {
  public:
    explicit TokenText(const SequenceInfo& sequence)
        : sequence_(sequence),
          needles_(needle_positions(sequence)) {}

    bool has_needle(TokenRange range) const {
        const auto first = std::lower_bound(needles_.begin(), needles_.end(), range.begin);
        return first != needles_.end() && *first < range.end;
    }
    /// `before [the difference] behind`; needle tokens between `{` and `}`.
    std::string around(TokenRange range) const {
        const Position end = std::min(sequence_.length(), range.end + context_shown);
        const Position longest = range.begin + 8 * context_shown;
        const bool cut = range.end > longest;
        return part({std::max(0, range.begin - context_shown), range.begin}) + '[' +
               part({range.begin, std::min(range.end, longest)}) + (cut ? "..." : "") + ']' +
               part({range.end, end});
    }

  private:
    /// Text of tokens, whole needles marked.
    std::string part(TokenRange range) const {
        std::string text;
        Position begin = range.begin;
        while (begin < range.end) {
            const bool needle = has_needle({begin, begin + 1});
            Position end = begin + 1;
            while (end < range.end && has_needle({end, end + 1}) == needle)
                ++end;
            const auto from = sequence_.text_offsets[static_cast<std::size_t>(begin)];
            const auto to = sequence_.text_offsets[static_cast<std::size_t>(end)];
            const std::string raw = sequence_.text.substr(static_cast<std::size_t>(from),
                                                          static_cast<std::size_t>(to - from));
            text += needle ? '{' + visible_text(raw) + '}' : visible_text(raw);
            begin = end;
        }
        return text;
    }

    const SequenceInfo& sequence_;
    std::vector<Position> needles_;
};

std::string side_text(const std::vector<TokenRange>& ranges,
                      const std::optional<TokenText>& words,
                      const char* title) {
    if (ranges.empty())
        return "";
    std::string text =
        std::string("  ") + title + ", " + std::to_string(tokens_in(ranges)) + " tokens:";
    if (!words) {
        const std::size_t shown = std::min<std::size_t>(ranges.size(), 4 * ranges_shown);
        text +=
            ' ' + text_of({ranges.begin(), ranges.begin() + static_cast<std::ptrdiff_t>(shown)});
        return text + (shown < ranges.size() ? ",..." : "") + '\n';
    }
    std::vector<TokenRange> order = ranges;
    std::stable_sort(order.begin(), order.end(), [&](TokenRange x, TokenRange y) {
        return words->has_needle(x) && !words->has_needle(y);
    });
    order.resize(std::min(order.size(), ranges_shown));
    text += '\n';
    for (const TokenRange range : order)
        text += "    " + text_of({range}) + "  " + words->around(range) + '\n';
    if (order.size() < ranges.size())
        text += "    ... and " + std::to_string(ranges.size() - order.size()) + " more\n";
    return text;
}

std::string details(const DiffSubject& subject) {
    std::vector<std::pair<const SequenceDiff*, const HeadDiff*>> differing;
    for (const SequenceDiff& sequence : subject.diff.sequences)
        for (const HeadDiff& head : sequence.heads)
            if (!head.only_a.empty() || !head.only_b.empty())
                differing.emplace_back(&sequence, &head);
    if (differing.empty())
        return "";
    std::stable_sort(differing.begin(), differing.end(), [](const auto& x, const auto& y) {
        const std::int64_t needle_x = x.second->needle_lost + x.second->needle_gained;
        const std::int64_t needle_y = y.second->needle_lost + y.second->needle_gained;
        if (needle_x != needle_y)
            return needle_x > needle_y;
        return x.second->kept.jaccard() < y.second->kept.jaccard();
    });
    const std::size_t shown = std::min(differing.size(), heads_shown);
    std::string text = "Kept by one side only, in " + std::to_string(shown) + " of " +
                       std::to_string(differing.size()) +
                       " heads that differ (most needle tokens first, then lowest jaccard;\n"
                       "--json and --csv have all)";
    text += subject.request.trace != nullptr ? ". [differs] {needle}:\n" : ":\n";
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& [sequence, head] = differing[i];
        std::optional<TokenText> words;
        if (subject.request.trace != nullptr)
            words.emplace(
                subject.request.trace->sequence(*place_in(*subject.request.trace, sequence->name)));
        text += "\nsequence " + sequence->name + ", layer " + std::to_string(head->layer) +
                ", KV head " + std::to_string(head->head) + ":\n" +
                side_text(head->only_a, words, "A only") + side_text(head->only_b, words, "B only");
    }
    return text + '\n';
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names)
        text.append(text.empty() ? "" : ", ").append(name);
    return text;
}

std::string joined(const std::vector<std::int32_t>& numbers) {
    std::vector<std::string> names;
    for (const std::int32_t number : numbers)
        names.push_back(std::to_string(number));
    return joined(names);
}

/// What only one of the files holds.
std::string coverage(const DecisionDiff& diff) {
    std::string text;
    const auto note = [&](const std::string& what, const std::string& list, const char* side) {
        if (!list.empty())
            text += what + " in " + side + " only: " + list + '\n';
    };
    note("Sequences", joined(diff.sequences_only_a), "A");
    note("Sequences", joined(diff.sequences_only_b), "B");
    for (const SequenceDiff& sequence : diff.sequences) {
        note("Sequence " + sequence.name + ": layers", joined(sequence.layers_only_a), "A");
        note("Sequence " + sequence.name + ": layers", joined(sequence.layers_only_b), "B");
    }
    return text.empty() ? "" : text + '\n';
}

std::string tie_note(const DecisionDiff& diff) {
    if (diff.scores_a && diff.scores_b && diff.heads_tied == 0)
        return "";
    if (diff.scores_a && diff.scores_b)
        return std::to_string(diff.heads_tied) +
               " heads differ inside a tie of equal scores only, and count as identical.\n";
    const char* lacking = diff.scores_a   ? "B stores no"
                          : diff.scores_b ? "A stores no"
                                          : "Neither file stores";
    return std::string(lacking) +
           " scores: ties cannot be told from other differences, and there is no tau "
           "(kvtape replay --scores).\n";
}

/// What the policies are never shown without, once.
std::string caveats(const DiffSubject& subject) {
    const std::string a = caveat_of(subject.request.a->info().policy);
    const std::string b = caveat_of(subject.request.b->info().policy);
    return (a.empty() ? "" : a + '\n') + (b.empty() || b == a ? "" : b + '\n');
}

}  // namespace

std::string diff_text(const DiffSubject& subject) {
    const DecisionDiff& diff = subject.diff;
    std::string text = "A: " + title_of(subject.request.a->info()) + "  " + subject.name_a + '\n';
    text += "B: " + title_of(subject.request.b->info()) + "  " + subject.name_b + "\n";
    text += caveats(subject) + '\n';
    text += coverage(diff) + head_table(subject) + '\n';
    if (subject.request.trace != nullptr)
        text += needle_table(subject) + '\n';
    text += details(subject);
    text += tie_note(diff);
    if (const std::string note = changed_note(diff); !note.empty())
        text += note + '\n';
    text += "overlap " + three_digits(diff.overlap) + ", heads identical " +
            std::to_string(diff.heads_identical) + " of " + std::to_string(diff.heads);
    if (diff.kendall_tau)
        text += ", kendall tau-b " + three_digits(*diff.kendall_tau);
    return text + "\njaccard " + shortest(diff.jaccard) + " identical " +
           (diff.identical() ? "yes" : "no") + '\n';
}

}  // namespace kvtape
