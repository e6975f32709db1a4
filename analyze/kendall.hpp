#pragma once

#include <optional>
#include <span>

namespace kvtape {

/// Kendall's tau-b of two equally long rows, 1 for the same order, -1 for the opposite one. Pairs
/// in which either value is not finite are left out (`+inf` marks tokens kept by rule, NaN tokens
/// without a score). Undefined when fewer than two are left or one side is constant. Exact counts
/// in O(n log n), after W. R. Knight, JASA 61 (1966), pages 436-439.
std::optional<double> kendall_tau_b(std::span<const float> a, std::span<const float> b);
/// The same for double precision.
std::optional<double> kendall_tau_b_double(std::span<const double> a, std::span<const double> b);

}  // namespace kvtape
