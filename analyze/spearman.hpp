#pragma once

#include <optional>
#include <span>

namespace kvtape {

/// Spearman's rho: Pearson's correlation of the ranks of two equally long rows, equal values
/// sharing the mean of their ranks. Pairs in which either value is not finite are left out.
/// Undefined when fewer than two are left or one side is constant.
std::optional<double> spearman_rho(std::span<const double> a, std::span<const double> b);

}  // namespace kvtape
