#include "tools/report/finding.hpp"

#include "core/budget.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace kvtape::report {
namespace {

constexpr double about_as_much = 1.1;  ///< times what was asked: still at that budget
constexpr double all_of_it = 0.999;

std::optional<Budget> budget_of(const std::string& text) {
    try {
        return Budget::parse(text);
    } catch (const Error&) {
        return std::nullopt;
    }
}

/// The policy that a wrapper decides by, or the policy itself: `random` of `paged(random:seed=1)`.
std::string innermost(const std::string& policy) {
    const std::size_t open = policy.rfind('(');
    const std::size_t begin = open == std::string::npos ? 0 : open + 1;
    return policy.substr(begin, policy.find_first_of(":)", begin) - begin);
}

/// `full` keeps all, `random` is chance and oracles see the future: none is an answer.
bool is_candidate(const Cell& cell) {
    const std::string base = innermost(cell.policy);
    return cell.query_source != "oracle" && !base.starts_with("oracle") && base != "full" &&
           base != "random" && cell.kept_ratio() < all_of_it;
}

/// The share of the cache that a budget asks for.
double asked_share(const Recall& recall, const std::string& text) {
    const auto budget = budget_of(text);
    if (budget && budget->ratio())
        return budget->ratio()->value();
    std::vector<double> held;
    for (const Cell& cell : recall.cells)
        if (cell.budget == text && innermost(cell.policy) != "full")
            held.push_back(cell.kept_ratio());
    if (held.empty())
        return 1.0;
    std::sort(held.begin(), held.end());
    return held[held.size() / 2];
}

/// What results of a budget hold on average, `full` aside: everything where there are no others.
double mean_held(const Recall& recall, const std::string& budget) {
    double sum = 0.0, count = 0.0;
    for (const Cell& cell : recall.cells)
        if (cell.budget == budget && cell.policy != "full") {
            sum += cell.kept_ratio();
            count += 1.0;
        }
    return count > 0.0 ? sum / count : 1.0;
}

/// The two best results of a budget, the best one first. Equal ones stay in their order.
std::vector<std::size_t> best_two(const Recall& recall, const std::string& budget) {
    std::vector<std::pair<double, std::size_t>> found;
    for (std::size_t i = 0; i < recall.cells.size(); ++i) {
        const Cell& cell = recall.cells[i];
        if (cell.budget != budget || !is_candidate(cell) || holds_more(recall, cell))
            continue;
        if (const auto mean = mean_of(recall, cell, main_figure(recall)))
            found.emplace_back(mean->mean, i);
    }
    std::stable_sort(
        found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<std::size_t> best;
    for (const auto& [mean, cell] : found)
        if (best.empty() ||
            (best.size() == 1 && recall.cells[cell].schedule == recall.cells[best[0]].schedule))
            best.push_back(cell);
    return best;
}

/// The figures of two results over the sequences that have both.
PairedDifference paired(const Recall& recall, const Cell& a, const Cell& b) {
    const auto figure = main_figure(recall);
    std::map<std::size_t, double> others;
    for (const SequenceFigures& one : b.sequences)
        if (one.figures.*figure)
            others[one.sequence] = *(one.figures.*figure);
    std::vector<double> left, right;
    for (const SequenceFigures& one : a.sequences) {
        const auto other = others.find(one.sequence);
        if (other == others.end() || !(one.figures.*figure))
            continue;
        left.push_back(*(one.figures.*figure));
        right.push_back(other->second);
    }
    return paired_difference(left, right, true, *recall.bootstrap);
}

/// `random` at the budget and schedule of `best`, not inside a wrapper.
std::optional<std::size_t> random_beside(const Recall& recall, const Cell& best) {
    for (std::size_t i = 0; i < recall.cells.size(); ++i) {
        const Cell& cell = recall.cells[i];
        if ((cell.policy == "random" || cell.policy.starts_with("random:")) &&
            cell.budget == best.budget && cell.schedule == best.schedule &&
            mean_of(recall, cell, main_figure(recall)))
            return i;
    }
    return std::nullopt;
}

std::optional<Finding> at_budget(const Recall& recall, const std::string& budget) {
    const std::vector<std::size_t> best = best_two(recall, budget);
    if (best.empty())
        return std::nullopt;
    const auto mean = [&](std::size_t cell) {
        return mean_of(recall, recall.cells[cell], main_figure(recall)).value();
    };
    Finding finding{.best = best[0],
                    .mean = mean(best[0]),
                    .is_enough = is_nine_tenths(mean(best[0]).mean),
                    .rival = {},
                    .rival_mean = {},
                    .difference = {},
                    .random = random_beside(recall, recall.cells[best[0]]),
                    .random_mean = {},
                    .above_random = {}};
    if (best.size() > 1) {
        finding.rival = best[1];
        finding.rival_mean = mean(best[1]);
        finding.difference = paired(recall, recall.cells[best[0]], recall.cells[best[1]]);
    }
    if (finding.random) {
        finding.random_mean = mean(*finding.random);
        finding.above_random = paired(recall, recall.cells[best[0]], recall.cells[*finding.random]);
    }
    return finding;
}

}  // namespace

std::optional<double> Figures::*main_figure(const Recall& recall) {
    for (const Cell& cell : recall.cells)
        for (const SequenceFigures& one : cell.sequences)
            if (one.figures.weighted)
                return &Figures::weighted;
    return &Figures::mass;
}

bool is_nine_tenths(double mean) {
    return std::floor(100.0 * mean + 0.5) >= 90.0;
}

std::vector<std::string> controls_with_enough(const Recall& recall) {
    std::vector<std::string> names;
    for (const Cell& cell : recall.cells) {
        const auto mean = mean_of(recall, cell, main_figure(recall));
        if (!is_candidate(cell) && mean && is_nine_tenths(mean->mean) &&
            std::find(names.begin(), names.end(), recall.series[cell.series]) == names.end())
            names.push_back(recall.series[cell.series]);
    }
    return names;
}

std::vector<std::string> budgets_of(const Recall& recall) {
    std::vector<std::string> budgets;
    std::map<std::string, double> held;
    for (const Cell& cell : recall.cells)
        if (held.try_emplace(cell.budget, mean_held(recall, cell.budget)).second)
            budgets.push_back(cell.budget);
    std::stable_sort(budgets.begin(), budgets.end(), [&](const auto& a, const auto& b) {
        return held[a] < held[b];
    });
    return budgets;
}

bool holds_more(const Recall& recall, const Cell& cell) {
    return innermost(cell.policy) != "full" &&
           cell.kept_ratio() > about_as_much * asked_share(recall, cell.budget);
}

std::optional<Finding> find_answer(const Recall& recall) {
    const std::vector<std::string> budgets = budgets_of(recall);
    for (const std::string& budget : budgets)
        if (const auto finding = at_budget(recall, budget); finding && finding->is_enough)
            return finding;
    for (std::size_t i = budgets.size(); i-- > 0;) {
        // From the middle of the list downwards, then from its end.
        const std::size_t place = (i + (budgets.size() + 1) / 2) % budgets.size();
        if (const auto finding = at_budget(recall, budgets[place]))
            return finding;
    }
    return std::nullopt;
}

std::optional<std::size_t> least_enough(const Recall& recall) {
    std::optional<std::size_t> least;
    for (std::size_t i = 0; i < recall.cells.size(); ++i) {
        const Cell& cell = recall.cells[i];
        if (!is_candidate(cell))
            continue;
        const auto mean = mean_of(recall, cell, main_figure(recall));
        if (mean && is_nine_tenths(mean->mean) &&
            (!least || cell.kept_ratio() < recall.cells[*least].kept_ratio()))
            least = i;
    }
    return least;
}

}  // namespace kvtape::report
