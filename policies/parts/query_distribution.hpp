#pragma once

#include "policies/policy.hpp"

#include <vector>

namespace kvtape {

/// The logit of a key k that a query drawn at random gives it, as ln E exp(scale * q . k)
/// = k . (quadratic k + linear), for normal q.
struct ExpectedQuery {
    std::vector<float> linear;     ///< [head_dim]: scale * mean
    std::vector<float> quadratic;  ///< [head_dim, head_dim]: scale^2 / 2 * covariance
};

/// The mean of the turns that RoPE gives to `count` positions from `first` on: a linear map R with
/// (a, -b; b, a) on every channel pair.
class AverageTurn {
  public:
    AverageTurn(const Rotation& rotation, Position first, Position count);

    /// Of query head `head` of a group: the distribution before RoPE, mapped by R.
    ExpectedQuery expected(const QueryStatistics& statistics,
                           Eigen::Index head,
                           double scale) const;

  private:
    /// x := R x, over elements `stride` apart.
    void apply(double* x, std::size_t stride) const;

    Rotation rotation_;
    std::vector<SineCosine> turns_;
};

}  // namespace kvtape
