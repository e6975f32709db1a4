#pragma once

#include "analyze/measured_results.hpp"
#include "sim/bootstrap.hpp"

#include <span>
#include <string>

namespace kvtape {

/// queries.csv: one formula under the queries of the context, of the question and of the oracle
/// (docs/metrics.md), for every spec and budget that is there with at least two of them.
std::string query_source_table(std::span<const MeasuredResult> results, const Bootstrap& bootstrap);

}  // namespace kvtape
