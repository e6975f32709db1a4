#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// How a score is smoothed over its neighbours.
enum class Pool { avg, max };

/// Slides a window of `kernel` (odd) entries over `scores`, centred and with stride 1. `avg` counts
/// the missing neighbours at the ends as zeros; `max` ignores them.
std::vector<float> pooled(std::span<const float> scores, Pool pool, std::int32_t kernel);

}  // namespace kvtape
