#pragma once

#include "core/budget.hpp"
#include "core/json.hpp"
#include "tools/report/sources.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace kvtape::report {

/// What the budget slider of the page goes through: the replayed budgets, and others between.
struct Steps {
    std::vector<Budget> budgets;   ///< ascending in tokens; empty where there are none between
    std::vector<char> has_series;  ///< a flag for each series: whether it is decided at all of them
};

/// Series that curve.csv has, where the recording is there and is not too large. `curve.csv` says
/// that somebody asked what policies keep at every budget, and which of them can tell.
Steps planned_steps(const Sources& sources);

/// What the page calls a step: as the user wrote it, or in percent.
std::string step_name(const Sources& sources, const Budget& budget);

/// Decides again, over some sequences and heads alone (layer * heads + head), at every step:
/// `[series][sequence][head]`, one character of base64 a token, the place of the first step that
/// keeps it, 63 for none. Null, and no flag any more, for a series whose kept sets do not grow with
/// the budget, or that decides otherwise than its decision files: a note says so.
Json decide_steps(Sources& sources,
                  Steps& steps,
                  const std::vector<std::size_t>& sequences,
                  const std::vector<std::size_t>& heads);

}  // namespace kvtape::report
