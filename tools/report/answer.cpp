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

/// `At 25% of the cache`, or `At a budget of 128t, which is 10 % of the tokens here`.
std::string at_budget(const Cell& best) {
    return best.budget.ends_with('%') ? "At <b>" + shown(best.budget) + "</b> of the cache"
                                      : "At a budget of <b>" + shown(best.budget) + "</b>, with " +
                                            percent(best.kept_ratio()) + " of the tokens held";
}

std::string with_bounds(const Interval& mean) {
    return "<b>" + decimal(mean.mean) + "</b>" + bounds(mean);
}

/// `20 sequences won, 1 tied, 3 lost`.
std::string tally(const PairedDifference& found) {
    return std::to_string(found.wins) + (found.wins == 1 ? " sequence won, " : " sequences won, ") +
           std::to_string(found.ties) + " tied, " + std::to_string(found.losses) + " lost";
}

/// Whether two results differ over sequences, and how sure that is.
std::string verdict(const PairedDifference& found, bool is_strong = true) {
    const Interval& difference = found.difference;
    const std::string mean = decimal(difference.mean);
    if (found.wins + found.losses == 0)
        return "they keep just as much in every sequence";
    const std::string text =
        "the difference, " + (is_strong ? "<b>" + mean + "</b>" : mean) + bounds(difference);
    if (std::isnan(difference.low))
        return text + ", is over too few sequences to tell it from chance (" + tally(found) + ")";
    const bool holds = difference.low > 0.0 || difference.high < 0.0;
    return text + (holds ? ", holds over sequences (" : ", may be chance (") + tally(found) + ")";
}

/// Whether the best is clearly better than what is drawn at random, where that was replayed.
bool beats_random(const Finding& finding) {
    const PairedDifference& found = finding.above_random;
    if (!finding.random || found.difference.low > 0.0)
        return true;
    // Too few sequences for an interval: what they show is not called chance, nor the reverse.
    return std::isnan(found.difference.low) && found.difference.mean > 0.0;
}

/// ` snapkv keeps the largest share of the needle: 0.52`, or that nothing does better than chance.
std::string headline(const Recall& recall, const Finding& finding) {
    const std::string best = name_of(recall, finding.best);
    const std::string share = with_bounds(finding.mean);
    if (!beats_random(finding)) {
        const bool is_above = finding.above_random.difference.mean > 0.0;
        return std::string(" no policy is ") + (is_above ? "clearly " : "") + "better at keeping " +
               thing(recall) + " than random tokens, which keep " +
               decimal(finding.random_mean.mean) + bounds(finding.random_mean) + ": the best, " +
               best + ", keeps " + share +
               (is_above ? ", and " + verdict(finding.above_random, false) : "");
    }
    if (decimal(finding.mean.mean) == "0.00")
        return " no policy keeps even a hundredth of " + thing(recall) + ": the best, " + best +
               ", keeps " + share;
    return " " + best + " keeps the largest share of " + thing(recall) + ": " + share;
}

/// `; the runner-up, tova, keeps ...`, or that there is none.
std::string runner_up(const Recall& recall, const Finding& finding) {
    if (!finding.rival)
        return ". No other policy can be compared with it at this budget and schedule.";
    const Cell& best = recall.cells[finding.best];
    const Cell& rival = recall.cells[*finding.rival];
    const bool alike = std::abs(best.kept_ratio() - rival.kept_ratio()) <= 0.02 * best.kept_ratio();
    return "; the runner-up, " + name_of(recall, *finding.rival) +
           (alike ? "" : ", which holds " + percent(rival.kept_ratio())) + ", keeps " +
           with_bounds(finding.rival_mean) + ", and " + verdict(finding.difference) + ".";
}

/// The answers with the same policy, budget, schedule and queries. Where all is kept none vote, and
/// every budget is the same.
const LiveAnswers* live_of(const Sources& sources, const Cell& cell) {
    const auto found =
        std::find_if(sources.answers.begin(), sources.answers.end(), [&](const LiveAnswers& one) {
            return one.policy == cell.policy && one.schedule == cell.schedule &&
                   (cell.policy == "full" ||
                    (one.budget == cell.budget && one.query_source == cell.query_source));
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

/// `What sees the future (oracle) keeps 0.47` for the policy of that name beside the best, or "".
std::string beside(const Recall& recall, const Cell& best, const char* policy, const char* what) {
    for (const Cell& cell : recall.cells)
        if (cell.policy == policy && cell.budget == best.budget && cell.schedule == best.schedule)
            if (const auto mean = mean_of(recall, cell, main_figure(recall)))
                return std::string(" ") + what + " " + decimal(mean->mean) + bounds(*mean) + ".";
    return "";
}

/// That no policy keeps nine tenths, and which controls do.
std::string none_enough(const Recall& recall) {
    const std::vector<std::string> names = controls_with_enough(recall);
    std::string controls;
    for (const std::string& name : names)
        controls += (controls.empty() ? "<b>" : ", <b>") + shown(name) + "</b>";
    const std::string text = " keeps nine tenths of " + thing(recall) + " at any replayed budget";
    if (controls.empty())
        return "No policy" + text + ".";
    return "No policy that drops tokens by choice and sees no future" + text + " (" + controls +
           (names.size() == 1 ? " does)." : " do).");
}

/// With how little nine tenths are kept, where the answer does not say so.
std::string least(const Sources& sources) {
    const Recall& recall = sources.recall;
    const auto found = least_enough(recall);
    if (!found)
        return none_enough(recall);
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
    const std::string enough =
        finding->is_enough
            ? ", the least replayed at which a policy keeps nine tenths of " + thing(recall)
            : "";
    const bool has_comma = finding->is_enough || !best.budget.ends_with('%');
    return "<p class=answer>" + at_budget(best) + enough + (has_comma ? "," : "") +
           headline(recall, *finding) + runner_up(recall, *finding) +
           live_sentence(sources, *finding) + "</p><p class=small>" +
           (finding->is_enough ? "" : least(sources)) +
           (beats_random(*finding) && finding->random
                ? " Random tokens keep " + decimal(finding->random_mean.mean) +
                      bounds(finding->random_mean) + "."
                : "") +
           beside(recall, best, "oracle", "What sees the future (oracle) keeps") +
           (finding->rival ? " Best and runner-up were picked after the fact, from these sequences."
                           : "") +
           "</p>";
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
