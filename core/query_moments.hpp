#pragma once

#include "core/rotation.hpp"
#include "core/types.hpp"

#include <cstdint>
#include <vector>

namespace kvtape {

/// Mean and covariance of the queries of one query head before RoPE, gathered from queries after
/// it. Sums are taken in double, in the order of the rows; how the rows were cut into calls does
/// not matter.
class QueryMoments {
  public:
    explicit QueryMoments(std::int32_t head_dim);

    /// Row `i` of `queries` [tokens, head_dim] is the token `turns` was made for.
    void add(const Turns& turns, MatrixView queries);

    std::int64_t count() const { return count_; }
    /// [head_dim]; zeros when there were no queries.
    std::vector<float> mean() const;
    /// [head_dim, head_dim], centred, divided by the count.
    std::vector<float> covariance() const;

  private:
    std::size_t dim_;
    std::int64_t count_ = 0;
    std::vector<double> sums_;
    std::vector<double> products_;  ///< of channels (i, j), j <= i
};

}  // namespace kvtape
