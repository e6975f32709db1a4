#pragma once

#include "core/types.hpp"

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace kvtape {

/// Lengths after the output projection: of W x, where W [hidden, dim] are the columns of W_o that
/// belong to one query head.
class OutputNorm {
  public:
    explicit OutputNorm(MatrixView columns);
    /// Squared, from Wᵀ W.
    double squared(std::span<const double> x) const;

  private:
    std::size_t dim_;
    std::vector<double> gram_;  ///< [dim, dim], twice the elements above the diagonal, 0 below
};

/// ||o - o_S|| / ||o||, where o is `full` and o_S is `sum / mass`, or zero where there is no mass.
/// 0 where they are equal, 1 where o alone is zero. With a norm, both lengths are those after the
/// output projection.
double output_error(std::span<const double> full,
                    std::span<const double> sum,
                    double mass,
                    const OutputNorm* norm = nullptr);

}  // namespace kvtape
