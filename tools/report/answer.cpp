#include "tools/report/answer.hpp"

#include "tools/report/finding.hpp"
#include "tools/report/words.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape::report {
namespace {

std::string thing(const Recall& recall) {
    return main_figure(recall) == &Figures::weighted ? "the needle" : "the attention";
}

std::string name_of(const Recall& recall, std::size_t cell) {
    return "<b>" + shown(recall.series[recall.cells[cell].series]) + "</b>";
}

std::string at_budget(const std::string& budget) {
    return budget.ends_with('%') ? "At <b>" + shown(budget) + "</b> of the cache"
                                 : "At a budget of <b>" + shown(budget) + "</b>";
}

std::string with_bounds(const Interval& mean) {
    return "<b>" + decimal(mean.mean) + "</b>" + bounds(mean);
}

/// `20 sequences won, 1 tied, 3 lost`.
std::string tally(const PairedDifference& found) {
    return std::to_string(found.wins) + " sequences won, " + std::to_string(found.ties) +
           " tied, " + std::to_string(found.losses) + " lost";
}

/// Whether the best is really ahead of the runner-up.
std::string verdict(const PairedDifference& found) {
    const Interval& difference = found.difference;
    if (found.wins + found.losses == 0)
        return "they keep just as much in every sequence";
    const std::string text =
        "the difference, <b>" + decimal(difference.mean) + "</b>" + bounds(difference);
    if (std::isnan(difference.low))
        return text + ", is over too few sequences to tell it from chance (" + tally(found) + ")";
    return text + (difference.low > 0.0 ? ", is more than chance (" : ", may be chance (") +
           tally(found) + ")";
}

/// `; the runner-up, tova, keeps ...`, or that there is none.
std::string runner_up(const Recall& recall, const Finding& finding) {
    if (!finding.rival)
        return ". No other policy was replayed at it.";
    const Cell& best = recall.cells[finding.best];
    const Cell& rival = recall.cells[*finding.rival];
    const bool alike = std::abs(best.kept_ratio() - rival.kept_ratio()) <= 0.02 * best.kept_ratio();
    return "; the runner-up, " + name_of(recall, *finding.rival) +
           (alike ? "" : ", which holds " + percent(rival.kept_ratio())) + ", keeps " +
           with_bounds(finding.rival_mean) + ", and " + verdict(finding.difference) + ".";
}

/// The answers with the same policy, budget, schedule and queries. None vote where all is kept.
const LiveAnswers* live_of(const Sources& sources, const Cell& cell) {
    const auto found =
        std::find_if(sources.answers.begin(), sources.answers.end(), [&](const LiveAnswers& one) {
            return one.policy == cell.policy && one.budget == cell.budget &&
                   one.schedule == cell.schedule &&
                   (one.query_source == cell.query_source || cell.policy == "full");
        });
    return found == sources.answers.end() ? nullptr : &*found;
}

std::string count_of(const Share& share) {
    return "<b>" + std::to_string(share.right) + " of " + std::to_string(share.judged) + "</b>" +
           bounds(share.interval());
}

/// What the running model answered with the best, with the runner-up and with everything.
std::string live_sentence(const Sources& sources, const Finding& finding) {
    const Recall& recall = sources.recall;
    const Cell& best = recall.cells[finding.best];
    const LiveAnswers* answers = live_of(sources, best);
    if (answers == nullptr)
        return "";
    std::string html = " Compressed so while it runs, the model answers " + count_of(answers->all) +
                       " questions right with " + name_of(recall, finding.best);
    if (finding.rival)
        if (const LiveAnswers* rival = live_of(sources, recall.cells[*finding.rival]))
            html += ", " + count_of(rival->all) + " with " + name_of(recall, *finding.rival);
    Cell full = best;
    full.policy = "full";
    if (const LiveAnswers* all = live_of(sources, full))
        html += ", " + count_of(all->all) + " with the whole cache";
    return html + ".";
}

/// `Random tokens keep 0.09` for the policy of that name beside the best, or "".
std::string beside(const Recall& recall, const Cell& best, const char* policy, const char* what) {
    for (const Cell& cell : recall.cells)
        if (cell.policy == policy && cell.budget == best.budget && cell.schedule == best.schedule)
            if (const auto mean = mean_of(recall, cell, main_figure(recall)))
                return std::string(" ") + what + " " + decimal(mean->mean) + bounds(*mean) + ".";
    return "";
}

/// With how little nine tenths are kept, where the answer does not say so.
std::string least(const Sources& sources) {
    const Recall& recall = sources.recall;
    const auto found = least_enough(recall);
    if (!found)
        return "No policy keeps nine tenths of " + thing(recall) + " at any replayed budget.";
    const Cell& cell = recall.cells[*found];
    const auto mean = mean_of(recall, cell, main_figure(recall)).value();
    const LiveAnswers* answers = live_of(sources, cell);
    return "Nine tenths of " + thing(recall) + " need " + percent(cell.kept_ratio()) +
           " of the tokens here: " + name_of(recall, *found) + " at " + shown(cell.budget) +
           " keeps " + decimal(mean.mean) + bounds(mean) +
           (answers == nullptr ? ""
                               : "; the model then answers " + count_of(answers->all) + " right") +
           ".";
}

}  // namespace

std::string answer_html(const Sources& sources) {
    const Recall& recall = sources.recall;
    const auto finding = find_answer(recall);
    if (!finding)
        return "<p class=answer>No result of a policy can be compared here. " + least(sources) +
               "</p>";
    const Cell& best = recall.cells[finding->best];
    return "<p class=answer>" + at_budget(best.budget) +
           (finding->is_enough
                ? ", the least replayed at which a policy keeps nine tenths of " + thing(recall) +
                      ", " + name_of(recall, finding->best) + " keeps most of it: "
                : " " + name_of(recall, finding->best) + " keeps most of " + thing(recall) + ": ") +
           with_bounds(finding->mean) + runner_up(recall, *finding) +
           live_sentence(sources, *finding) + "</p><p class=small>" +
           (finding->is_enough ? "" : least(sources)) +
           beside(recall, best, "random", "Random tokens keep") +
           beside(recall, best, "oracle", "What sees the future (oracle) keeps") + "</p>";
}

std::string recall_html(const Recall& recall) {
    const std::vector<std::string> budgets = budgets_of(recall);
    const auto figure = main_figure(recall);
    std::string html = "<table><caption>Share of " + thing(recall) +
                       " kept, mean and 95 % interval over sequences</caption><thead><tr>"
                       "<th scope=col>policy";
    for (const std::string& budget : budgets)
        html += "<th scope=col>" + shown(budget);
    html += "</thead><tbody>";
    bool marked = false;
    for (std::size_t series = 0; series < recall.series.size(); ++series) {
        html += "<tr><th scope=row>" + shown(recall.series[series]);
        for (const std::string& budget : budgets) {
            html += "<td>";
            for (const Cell& cell : recall.cells) {
                if (cell.series != series || cell.budget != budget)
                    continue;
                if (const auto mean = mean_of(recall, cell, figure))
                    html += "<b>" + decimal(mean->mean) + "</b>" + bounds(*mean);
                const bool more = holds_more(recall, cell);
                marked = marked || more;
                html +=
                    more ? " <span class=more>keeps " + percent(cell.kept_ratio()) + "</span>" : "";
            }
        }
    }
    return html + "</tbody></table>" +
           (marked ? "<p class=small>“keeps …”: this policy holds more than the budget asks; "
                     "compare it with others at what it really keeps.</p>"
                   : "");
}

}  // namespace kvtape::report
