#include "tools/report/answer.hpp"

#include "core/budget.hpp"
#include "core/error.hpp"
#include "tools/report/words.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

namespace kvtape::report {
namespace {

constexpr double enough = 0.9;         ///< of the needle
constexpr double about_as_much = 1.1;  ///< times what was asked: still at that budget

/// The figure that answers the question: weighted recall, or kept mass where nothing was hidden.
std::optional<double> Figures::*main_figure(const Recall& recall) {
    for (const Cell& cell : recall.cells)
        if (mean_of(recall, cell, &Figures::weighted))
            return &Figures::weighted;
    return &Figures::mass;
}

/// `full` keeps all, oracles see the future: neither is an answer.
bool is_candidate(const Cell& cell) {
    return cell.query_source != "oracle" && !cell.policy.starts_with("oracle") &&
           cell.policy != "full" && cell.policy.substr(0, 6) != "random";
}

struct Found {
    const Cell* cell = nullptr;
    Interval mean;
};

/// The share that a budget asks for, or none where it is a count.
std::optional<double> asked_ratio(const std::string& budget) {
    try {
        const auto ratio = Budget::parse(budget).ratio();
        return ratio ? std::optional(ratio->value()) : std::nullopt;
    } catch (const Error&) {
        return std::nullopt;
    }
}

/// The budgets of the table, in ascending order where they are budgets.
std::vector<std::string> budgets_of(const Recall& recall) {
    std::vector<std::string> budgets;
    for (const Cell& cell : recall.cells)
        if (std::find(budgets.begin(), budgets.end(), cell.budget) == budgets.end())
            budgets.push_back(cell.budget);
    std::stable_sort(budgets.begin(), budgets.end(), [](const auto& a, const auto& b) {
        return asked_ratio(a).value_or(2.0) < asked_ratio(b).value_or(2.0);
    });
    return budgets;
}

Found best_at(const Recall& recall, const std::string& budget) {
    Found best;
    for (const Cell& cell : recall.cells) {
        const auto asked = asked_ratio(budget);
        if (cell.budget != budget || !is_candidate(cell) ||
            (asked && cell.kept_ratio() > about_as_much * *asked))
            continue;
        const auto mean = mean_of(recall, cell, main_figure(recall));
        if (mean && (best.cell == nullptr || mean->mean > best.mean.mean))
            best = {&cell, *mean};
    }
    return best;
}

/// The result that holds the least and still keeps enough.
Found first_enough(const Recall& recall) {
    Found first;
    for (const Cell& cell : recall.cells) {
        if (!is_candidate(cell) || cell.kept_ratio() > 0.999)
            continue;
        const auto mean = mean_of(recall, cell, main_figure(recall));
        if (mean && mean->mean >= enough &&
            (first.cell == nullptr || cell.kept_ratio() < first.cell->kept_ratio()))
            first = {&cell, *mean};
    }
    return first;
}

/// `, chance keeps 0.09` for the policy of that name at a budget, or "".
std::string beside(const Recall& recall,
                   const std::string& budget,
                   const char* policy,
                   const char* what) {
    for (const Cell& cell : recall.cells)
        if (cell.budget == budget && cell.policy == policy)
            if (const auto mean = mean_of(recall, cell, main_figure(recall)))
                return std::string(", ") + what + " <b>" + decimal(mean->mean) + "</b>";
    return "";
}

std::string thing(const Recall& recall) {
    return main_figure(recall) == &Figures::weighted ? "the needle" : "the attention";
}

std::string series_of(const Recall& recall, const Cell& cell) {
    return shown(recall.series[cell.series]);
}

}  // namespace

std::string answer_html(const Recall& recall) {
    const std::vector<std::string> budgets = budgets_of(recall);
    std::string html;
    for (std::size_t i = budgets.size(); i-- > 0 && html.empty();) {
        // From the middle of the list downwards, then upwards.
        const std::size_t place = (i + (budgets.size() + 1) / 2) % budgets.size();
        const Found best = best_at(recall, budgets[place]);
        if (best.cell != nullptr)
            html = "<p class=answer>At <b>" + shown(budgets[place]) +
                   "</b> of the cache no policy keeps more of " + thing(recall) + " than <b>" +
                   series_of(recall, *best.cell) + "</b>: <b>" + decimal(best.mean.mean) + "</b>" +
                   bounds(best.mean) + beside(recall, budgets[place], "random", "chance") +
                   beside(recall, budgets[place], "oracle", "the oracle") + ". ";
    }
    if (html.empty())
        html = "<p class=answer>No result of a policy can be compared here. ";
    const Found first = first_enough(recall);
    if (first.cell == nullptr)
        return html + "No policy keeps nine tenths of " + thing(recall) +
               " at any replayed budget.</p>";
    return html + "Nine tenths of it need <b>" + percent(first.cell->kept_ratio()) +
           "</b> of the tokens: <b>" + series_of(recall, *first.cell) + "</b> at " +
           shown(first.cell->budget) + " keeps " + decimal(first.mean.mean) + bounds(first.mean) +
           ".</p>";
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
                const auto asked = asked_ratio(budget);
                const bool more =
                    asked && cell.policy != "full" && cell.kept_ratio() > about_as_much * *asked;
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
