#pragma once

#include "analyze/comparison.hpp"
#include "tools/report/figures.hpp"

#include <optional>
#include <string>
#include <vector>

namespace kvtape::report {

/// The figure that answers the question: weighted recall, or kept mass where nothing was hidden.
std::optional<double> Figures::*main_figure(const Recall& recall);

/// The budgets of the table in ascending order, and behind them what is no budget.
std::vector<std::string> budgets_of(const Recall& recall);

/// Whether a result holds more than a tenth over what its budget asks. Where that is a count, it is
/// set against what results of the same budget hold in the middle.
bool holds_more(const Recall& recall, const Cell& cell);

/// The result that keeps most at a budget, and the second best beside it.
struct Finding {
    std::size_t best = 0;  ///< index into `Recall::cells`
    Interval mean;
    bool is_enough = false;            ///< nine tenths, and at no smaller budget
    std::optional<std::size_t> rival;  ///< of the same schedule
    Interval rival_mean;
    PairedDifference difference;  ///< of best and rival, over the sequences of both
};

/// At the smallest budget at which a policy keeps nine tenths, or else at a middling one: who keeps
/// most of those that hold what was asked. `full`, chance and what sees the future are no answer.
std::optional<Finding> find_answer(const Recall& recall);

/// The result that holds the least and still keeps nine tenths, whatever its budget asked.
std::optional<std::size_t> least_enough(const Recall& recall);

}  // namespace kvtape::report
