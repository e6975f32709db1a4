#pragma once

#include "core/types.hpp"

#include <span>
#include <vector>

namespace kvtape {

/// What evicting one token alone does to the output of a KV head, exactly: a probe that gave it the
/// probability p moves by p / (1 - p) * ||o - v|| (docs/metrics.md). Returned: by token, over the
/// first `tokens`, the mean over the probes of all query heads of the group. `attention` holds the
/// unnormalised weights [probes, T] of each query head, `values` is [T, head_dim]. Where nothing
/// else got any weight, the whole output goes.
std::vector<double> leave_one_out(std::span<const MatrixView> attention,
                                  MatrixView values,
                                  Position tokens);

}  // namespace kvtape
