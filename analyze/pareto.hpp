#pragma once

#include "analyze/measured_results.hpp"
#include "sim/bootstrap.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// What a result costs and what it gives.
struct CostAndGain {
    double cost = 0.0;
    double gain = 0.0;
};

/// For every point the one that dominates it with the largest gain (of equal gains the cheapest, of
/// these the first): it costs no more and gives no less, one of the two strictly. None on the
/// front.
std::vector<std::optional<std::size_t>> dominators(std::span<const CostAndGain> points);

/// pareto.csv: kept bytes against weighted needle recall (docs/metrics.md).
std::string pareto_table(std::span<const MeasuredResult> results, const Bootstrap& bootstrap);

}  // namespace kvtape
