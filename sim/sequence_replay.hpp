#pragma once

#include "sim/replay.hpp"

#include <cstdint>
#include <functional>
#include <span>

namespace kvtape {

/// `replay` over one sequence of the request.
void replay_sequence(const ReplayRequest& request,
                     std::span<const ReplayTask> tasks,
                     std::int32_t sequence,
                     const std::function<void(const Decided&)>& decided);

}  // namespace kvtape
