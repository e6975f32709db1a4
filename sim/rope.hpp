#pragma once

#include "core/rotation.hpp"
#include "trace/trace.hpp"

namespace kvtape {

/// The rotary embedding that a trace describes; none (`rotary_dim` 0) where its description lacks
/// the frequencies.
Rotation rotation_of(const TraceInfo& info);

}  // namespace kvtape
