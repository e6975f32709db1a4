#include "tools/diff_page.hpp"

#include "policies/spec.hpp"
#include "sim/metrics/needle.hpp"
#include "tools/diff_page_style.hpp"
#include "tools/visible_text.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace kvtape {
namespace {

std::string shown(std::string_view text) {
    return html_escaped(visible_text(text));
}

std::string element(const char* name, const std::string& content) {
    return std::string("<") + name + '>' + content + "</" + name + '>';
}

/// A head of a sequence, and where it stands.
struct Place {
    const SequenceDiff* sequence = nullptr;
    const HeadDiff* head = nullptr;

    std::string anchor() const {
        return 's' + sequence->name + "-l" + std::to_string(head->layer) + "-h" +
               std::to_string(head->head);
    }
    std::string title() const {
        return "Sequence " + sequence->name + ", layer " + std::to_string(head->layer) +
               ", KV head " + std::to_string(head->head);
    }
    std::int64_t needle_changes() const { return head->needle_lost + head->needle_gained; }
};

/// The heads that differ: most needle tokens that change sides first, then the lowest Jaccard.
std::vector<Place> differing(const DecisionDiff& diff) {
    std::vector<Place> places;
    for (const SequenceDiff& sequence : diff.sequences)
        for (const HeadDiff& head : sequence.heads)
            if (!head.only_a.empty() || !head.only_b.empty())
                places.push_back({&sequence, &head});
    std::stable_sort(places.begin(), places.end(), [](const Place& x, const Place& y) {
        if (x.needle_changes() != y.needle_changes())
            return x.needle_changes() > y.needle_changes();
        return x.head->kept.jaccard() < y.head->kept.jaccard();
    });
    return places;
}

/// The tokens of one head as both columns show them.
class Strip {
  public:
    Strip(const DiffSubject& subject, const Place& place, const PageLimits& limits)
        : limits_(limits),
          moment_(place.sequence->moment) {
        const DiffRequest& request = subject.request;
        const LayerFate a = request.a->load(place.sequence->place_a, place.head->layer);
        const LayerFate b = request.b->load(place.sequence->place_b, place.head->layer);
        keeper_ = keepers(head_of(a, *request.a, place.sequence->place_a, place.head->head),
                          head_of(b, *request.b, place.sequence->place_b, place.head->head),
                          moment_);
        needle_.assign(keeper_.size(), false);
        shown_.assign(keeper_.size(), moment_ <= limits.tokens);
        if (request.trace != nullptr) {
            words_ = &request.trace->sequence(*place_in(*request.trace, place.sequence->name));
            for (const Position token : needle_positions(*words_))
                if (token < moment_)
                    needle_[at(token)] = true;
        }
        if (moment_ > limits.tokens)
            choose_shown();
    }

    /// The tokens of the column of `own`, who is `only_a` or `only_b`.
    std::string column(Keeper own) const {
        std::string html;
        for (Position begin = 0; begin < moment_;) {
            Position end = begin + 1;
            while (end < moment_ && alike(begin, end))
                ++end;
            html += shown_[at(begin)] ? run({begin, end}, own) : gap({begin, end});
            begin = end;
        }
        return html;
    }

  private:
    static std::size_t at(Position token) { return static_cast<std::size_t>(token); }

    /// Shows what stands near differences and needles, from the first on, up to the limit.
    void choose_shown() {
        Position left = limits_.tokens;
        for (Position token = 0; token < moment_; ++token) {
            const Keeper one = keeper_[at(token)];
            if (one != Keeper::only_a && one != Keeper::only_b && !needle_[at(token)])
                continue;
            const Position end = std::min(moment_, token + limits_.around + 1);
            for (Position near = std::max(0, token - limits_.around); near < end; ++near)
                if (left > 0 && !shown_[at(near)]) {
                    shown_[at(near)] = true;
                    --left;
                }
        }
    }

    bool alike(Position x, Position y) const {
        if (!shown_[at(x)] || !shown_[at(y)])
            return shown_[at(x)] == shown_[at(y)];
        return keeper_[at(x)] == keeper_[at(y)] && needle_[at(x)] == needle_[at(y)];
    }

    std::string run(TokenRange range, Keeper own) const {
        const Keeper one = keeper_[at(range.begin)];
        const char* tag = one == Keeper::neither ? "s"
                          : one == Keeper::both  ? "u"
                          : one == own           ? "i"
                                                 : "q";
        const std::string mark = needle_[at(range.begin)] ? " class=n" : "";
        return std::string("<") + tag + mark + '>' + text(range) + "</" + tag + '>';
    }

    std::string text(TokenRange range) const {
        if (words_ == nullptr) {
            const Position last = range.end - 1;
            return ' ' + std::to_string(range.begin) +
                   (last > range.begin ? '-' + std::to_string(last) : "") + ' ';
        }
        const auto from = static_cast<std::size_t>(words_->text_offsets[at(range.begin)]);
        const auto to = static_cast<std::size_t>(words_->text_offsets[at(range.end)]);
        return shown(std::string_view(words_->text).substr(from, to - from));
    }

    std::string gap(TokenRange range) const {
        return "<span class=gap> [" + std::to_string(range.end - range.begin) +
               " tokens left out: " + std::to_string(range.begin) + " to " +
               std::to_string(range.end - 1) + "] </span>";
    }

    const PageLimits& limits_;
    Position moment_;
    std::vector<Keeper> keeper_;
    std::vector<bool> needle_, shown_;
    const SequenceInfo* words_ = nullptr;
};

std::string facts(const HeadDiff& head, bool with_needles) {
    std::string text = "Jaccard " + three_digits(head.kept.jaccard()) + ", overlap " +
                       three_digits(head.kept.overlap()) + ". A keeps " +
                       std::to_string(head.kept.a) + " tokens, B " + std::to_string(head.kept.b) +
                       ", both " + std::to_string(head.kept.both) + '.';
    if (with_needles && head.needle_tokens > 0)
        text += " Needle: " + std::to_string(head.needle_a) + " of " +
                std::to_string(head.needle_tokens) + " tokens in A, " +
                std::to_string(head.needle_b) + " in B.";
    if (head.part_at)
        text += " They part when " + std::to_string(*head.part_at) + " tokens are through (block " +
                std::to_string(head.part_block_a) + " of A, " + std::to_string(head.part_block_b) +
                " of B).";
    if (head.changed_differently > 0)
        text += " Of the tokens in both, " + std::to_string(head.changed_differently) +
                " have other keys or values in one than in the other.";
    if (head.tie_only)
        text += " The difference lies inside a tie.";
    return text;
}

std::string column(const Strip& strip, const Place& place, Keeper own) {
    const bool is_a = own == Keeper::only_a;
    const char* name = is_a ? "A" : "B";
    return std::string("<div><span class=name>") + name + "</span><div class=\"strip of-" +
           (is_a ? "a" : "b") + "\" role=region aria-label=\"Tokens of " + name + ", " +
           place.title() + "\">" + strip.column(own) + "</div></div>";
}

std::string section(const DiffSubject& subject, const Place& place, const PageLimits& limits) {
    const Strip strip(subject, place, limits);
    return "<section id=" + place.anchor() + "><h3>" + place.title() + "</h3><p class=facts>" +
           facts(*place.head, subject.request.trace != nullptr) +
           " <a href=\"#heads\">All heads</a></p><div class=pair>" +
           column(strip, place, Keeper::only_a) + column(strip, place, Keeper::only_b) +
           "</div></section>\n";
}

std::string row(const Place& place, bool linked, bool with_needles) {
    const HeadDiff& head = *place.head;
    const std::string name = std::to_string(head.layer) + '.' + std::to_string(head.head);
    std::string cells =
        element("td", linked ? "<a href=\"#" + place.anchor() + "\">" + name + "</a>" : name);
    if (with_needles)
        cells += std::string(place.needle_changes() > 0 ? "<td class=changed>" : "<td>") +
                 std::to_string(head.needle_a) + " / " + std::to_string(head.needle_b) + " of " +
                 std::to_string(head.needle_tokens) + "</td>";
    cells += element("td", three_digits(head.kept.jaccard()));
    cells += element("td", three_digits(head.kept.overlap()));
    for (const std::int64_t count :
         {head.kept.a, head.kept.b, head.kept.a - head.kept.both, head.kept.b - head.kept.both})
        cells += element("td", std::to_string(count));
    cells += element("td", head.kendall_tau ? three_digits(*head.kendall_tau) : "");
    cells += element("td", head.tie_only ? "tie" : head.identical() ? "yes" : "no");
    return element("tr", cells);
}

/// One table per sequence, the first one open.
std::string overview(const DiffSubject& subject, const std::vector<std::string>& linked) {
    const bool with_needles = subject.request.trace != nullptr;
    std::string html = "<h2 id=heads>Heads</h2>\n";
    bool first = true;
    for (const SequenceDiff& sequence : subject.diff.sequences) {
        std::int64_t identical = 0;
        std::string rows;
        for (const HeadDiff& head : sequence.heads) {
            const Place place{&sequence, &head};
            identical += head.identical() ? 1 : 0;
            rows += row(place,
                        std::binary_search(linked.begin(), linked.end(), place.anchor()),
                        with_needles);
        }
        html += std::string(first ? "<details open>" : "<details>") + "<summary>Sequence " +
                sequence.name + ": " + std::to_string(identical) + " of " +
                std::to_string(sequence.heads.size()) + " heads identical, compared at token " +
                std::to_string(sequence.moment) +
                "</summary><div class=scroll tabindex=0 role=region aria-label=\"Heads of "
                "sequence " +
                sequence.name + "\"><table><thead><tr><th scope=col>layer.head";
        html += with_needles ? "<th scope=col>needle A / B" : "";
        html +=
            "<th scope=col>jaccard<th scope=col>overlap<th scope=col>kept A<th scope=col>kept B"
            "<th scope=col>only A<th scope=col>only B<th scope=col>tau-b<th "
            "scope=col>identical</tr></thead><tbody>" +
            rows + "</tbody></table></div></details>\n";
        first = false;
    }
    return html;
}

std::string side(const char* name, const char* css, const DecisionInfo& info) {
    const std::string caveat = caveat_of(info.policy);
    return std::string("<div class=side-") + css + "><strong>" + name + ": " +
           html_escaped(title_of(info)) + "</strong><p>" + shown(info.parameters) + "</p>" +
           (caveat.empty() ? "" : "<p>" + html_escaped(caveat) + "</p>") + "</div>";
}

std::string head_of_page(const DiffSubject& subject) {
    const DecisionDiff& diff = subject.diff;
    const std::string title =
        title_of(subject.request.a->info()) + " beside " + title_of(subject.request.b->info());
    return std::string(
               "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
               "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
               "style-src '") +
           std::string(diff_page_style_hash) +
           "'; base-uri 'none'; form-action 'none'\">"
           "<meta name=viewport content=\"width=device-width,initial-scale=1\">"
           "<meta name=referrer content=no-referrer><title>" +
           html_escaped(title) + "</title><style>" + std::string(diff_page_style) +
           "</style></head>\n<body><main><h1>What A keeps and B does not</h1><div class=sides>" +
           side("A", "a", subject.request.a->info()) + side("B", "b", subject.request.b->info()) +
           "</div><p class=total>Jaccard <strong>" + three_digits(diff.jaccard) +
           "</strong>, overlap <strong>" + three_digits(diff.overlap) + "</strong>, " +
           std::to_string(diff.heads_identical) + " of " + std::to_string(diff.heads) +
           " heads identical. " + changed_note(diff) + "</p>\n";
}

std::string legend(bool with_text) {
    return std::string(
               "<h2>Tokens</h2><ul class=legend><li><u> kept by both </u><li><i> kept by A only "
               "</i><li><i class=key-b> kept by B only </i><li><q> dropped here, kept by the other "
               "</q><li><s> dropped by both </s>") +
           (with_text ? "<li><s class=n> needle </s>" : "") + "</ul>\n";
}

}  // namespace

std::string diff_page(const DiffSubject& subject, const PageLimits& limits) {
    std::vector<Place> places = differing(subject.diff);
    const std::size_t all = places.size();
    std::vector<std::string> linked;
    std::string strips;
    for (const Place& place : places) {
        if (linked.size() == limits.strips || strips.size() >= limits.bytes)
            break;
        strips += section(subject, place, limits);
        linked.push_back(place.anchor());
    }
    const std::size_t left_out = all - linked.size();
    std::sort(linked.begin(), linked.end());
    std::string page = head_of_page(subject) + overview(subject, linked) +
                       legend(subject.request.trace != nullptr);
    if (all == 0)
        page += "<p>No head keeps other tokens on one side than on the other.</p>";
    if (left_out > 0)
        page += "<p>Shown are the " + std::to_string(linked.size()) +
                " heads that differ most, those whose needles change sides first. " +
                std::to_string(left_out) +
                " others that differ are left out; --sequences chooses, --csv lists all.</p>\n";
    return page + strips + "</main><footer>Written by kvtape diff.</footer></body></html>\n";
}

}  // namespace kvtape
