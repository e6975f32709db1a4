#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>

namespace kvtape {

/// Which positions of a context a score prefers (docs/metrics.md, bias.csv). Rows are over its
/// tokens in order. A token counts unless a rule keeps it whatever its score.

/// Kept share of the tokens in bins of relative position; NaN where no token of a bin counts.
constexpr std::size_t profile_bins = 20;
using KeepProfile = std::array<double, profile_bins>;

/// Token t of n falls into bin floor(20 t / n). Both rows are flags.
KeepProfile keep_profile(std::span<const char> kept, std::span<const char> counts);

/// Slope of the least-squares line through the bins that are defined, the middle of bin b standing
/// at (b + 1/2) / 20; none with fewer than two.
std::optional<double> keep_slope(const KeepProfile& profile);

/// Wasserstein-1 distance between the uniform distributions over the positions of two kept sets,
/// those that do not count left out, over the number of tokens: the integral of the difference of
/// their distribution functions. None where a set is empty.
std::optional<double> position_distance(std::span<const char> a,
                                        std::span<const char> b,
                                        std::span<const char> counts);

/// Share of finite scores that another one equals; none without finite scores.
std::optional<double> tie_rate(std::span<const float> scores);

/// Spearman's rho between finite scores and their positions; none when all are equal, or there are
/// fewer than two.
std::optional<double> position_correlation(std::span<const float> scores);

}  // namespace kvtape
