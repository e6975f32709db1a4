#pragma once

#include "tools/live/engine.hpp"

namespace kvtape::live {

/// How far a replay that is shown what the running model produced decides as the model's policy
/// did: 1 unless the two loops show a policy different things.
struct TeacherFed {
    double jaccard = 1.0;  ///< mean over layers, KV heads and blocks
    bool identical = true;
};

/// Replays `policy` at `budget` over the tape of a live run. `info` describes the model.
TeacherFed replay_taped(const Engine::Taped& taped,
                        const TraceInfo& info,
                        const PolicyRun& policy,
                        const Budget& budget,
                        const Setting& setting);

}  // namespace kvtape::live
