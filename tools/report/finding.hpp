#pragma once

#include "analyze/comparison.hpp"
#include "tools/report/figures.hpp"

#include <optional>
#include <string>
#include <vector>

namespace kvtape::report {

/// The figure that answers the question: weighted recall, or kept mass where nothing was hidden.
std::optional<double> Figures::*main_figure(const Recall& recall);

/// The budgets of the table in the order of what results of them really hold, `full` aside: the
/// mean kept ratio orders budgets of any units.
std::vector<std::string> budgets_of(const Recall& recall);

/// Whether a result holds more than a tenth over what its budget asks. Where that is a count, it is
/// set against what results of the same budget hold in the middle.
bool holds_more(const Recall& recall, const Cell& cell);

/// Whether a mean is nine tenths, as it is shown: rounded to two decimals.
bool is_nine_tenths(double mean);

/// Policies, by name, that are no answer and yet keep nine tenths at some budget: they keep
/// everything, pick at random or see the future.
std::vector<std::string> controls_with_enough(const Recall& recall);

/// The result that keeps most at a budget, and the second best beside it.
struct Finding {
    std::size_t best = 0;  ///< index into `Recall::cells`
    Interval mean;
    bool is_enough = false;            ///< nine tenths, and at no smaller budget
    std::optional<std::size_t> rival;  ///< of the same schedule
    Interval rival_mean;
    PairedDifference difference;        ///< of best and rival, over the sequences of both
    std::optional<std::size_t> random;  ///< `random` at this budget and schedule
    Interval random_mean;
    PairedDifference above_random;  ///< of best and random
};

/// At the smallest budget at which a policy keeps nine tenths, or else at a middling one: who keeps
/// most of those that hold what was asked. `full`, chance and what sees the future are no answer.
std::optional<Finding> find_answer(const Recall& recall);

/// The result that holds the least and still keeps nine tenths, whatever its budget asked.
std::optional<std::size_t> least_enough(const Recall& recall);

}  // namespace kvtape::report
