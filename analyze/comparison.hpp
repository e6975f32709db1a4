#pragma once

#include "analyze/measured_results.hpp"
#include "sim/bootstrap.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace kvtape {

/// Two results over the same sequences.
struct PairedDifference {
    std::int64_t sequences = 0;
    double mean_a = 0.0, mean_b = 0.0;
    Interval difference;                          ///< of a - b, paired bootstrap
    std::int64_t wins = 0, ties = 0, losses = 0;  ///< of a
};

/// `a[i]` and `b[i]` are of one sequence. Differences up to 1e-9 are ties.
PairedDifference paired_difference(std::span<const double> a,
                                   std::span<const double> b,
                                   bool higher_is_better,
                                   const Bootstrap& bootstrap);

/// Whether two results kept the same: per KV head, numbers of tokens that differ by at most 2 % of
/// the larger one, or by one token.
bool equal_budgets(const KeptTotals& a, const KeptTotals& b);

/// compare.csv: every two policies at equal realised budget (docs/metrics.md).
std::string comparison_table(std::span<const MeasuredResult> results,
                             const Bootstrap& bootstrap,
                             int threads);

}  // namespace kvtape
