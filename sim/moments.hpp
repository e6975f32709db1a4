#pragma once

#include "policies/policy.hpp"
#include "sim/schedule.hpp"

#include <cstdint>
#include <vector>

namespace kvtape {

/// One block as a policy lives through it.
struct Step {
    Block block;
    std::int32_t index = 0;  ///< of the block of the schedule that it is (a part of)
    bool decides = false;    ///< at its end
    Block moment;            ///< the block of the schedule, whose end sets the limit
};

/// The blocks of a schedule up to the last decision. The first is cut into pieces for a policy that
/// wants the context in blocks of its own.
std::vector<Step> steps_of(const Schedule& schedule,
                           const Needs& needs,
                           const SequenceInfo& sequence);

}  // namespace kvtape
