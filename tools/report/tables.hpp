#pragma once

#include "core/json.hpp"
#include "tools/report/sources.hpp"

namespace kvtape::report {

/// curve.csv, thinned: `[series] -> {task or "" -> {kept, weighted, recall, mass}}`, null where
/// there is none. Over all tasks, a task weighs as many times as it has sequences.
Json curves(Sources& sources);

/// Answers of the running model: a row for each policy, budget, schedule and query source, with the
/// share of right ones, and Wilson's interval, over all tasks and by task. Null where there are
/// none.
Json accuracy(const Sources& sources);

/// agreement.csv by policy and budget, calibration.csv and drift.csv of the live directory: name ->
/// {columns, rows, left_out}.
Json live_tables(Sources& sources);

/// What `analyze` wrote: `bias` and `heads` for each cell (null where a table lacks it), `compare`,
/// `pareto`, `paged` and `queries` as tables. Absent ones become one note.
Json analysis(Sources& sources);

}  // namespace kvtape::report
