#pragma once

#include "core/rotation.hpp"
#include "policies/policy.hpp"
#include "trace/trace.hpp"

#include <vector>

namespace kvtape {

/// The first token that the datasets query_mean and query_covariance count.
inline constexpr Position recorded_statistics_from = 4;

/// Whether the datasets query_mean and query_covariance are those that a policy needs.
bool statistics_recorded(const Needs& needs, const LayerParts& stored);

/// Recorded queries of `group` query heads, from `first_head` on, of [query_heads, Tq, head_dim].
struct QueryRows {
    const std::vector<float>& tensor;
    Eigen::Index first_head = 0;
    Eigen::Index group = 0;
};

/// Mean [group, head_dim] and covariance [group, head_dim, head_dim] before RoPE of the queries at
/// positions from `from` to the end of the context, all of them recorded.
struct QueryDistribution {
    std::vector<float> mean, covariance;
};
QueryDistribution query_statistics(const Shape& shape,
                                   const SequenceInfo& sequence,
                                   const QueryRows& queries,
                                   Position from,
                                   const Rotation& rotation);

}  // namespace kvtape
