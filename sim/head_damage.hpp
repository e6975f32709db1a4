#pragma once

#include "sim/head_facts.hpp"
#include "sim/held_state.hpp"
#include "sim/metrics/damage.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// One KV head whose damage is measured. Everything referred to must outlive the call.
struct DamagedHead {
    const TraceInfo& trace;
    const SequenceInfo& sequence;
    std::int32_t layer = 0;
    const LayerData& data;  ///< keys, values and queries
    std::int32_t kv_head = 0;
    const HeadFacts& facts;
};

/// What each of several states of the head costs (metrics.md, section 4): one `Damage` for each of
/// `parts`, its figures by state. Parts are rows of the probes, the first being 0, and not empty.
/// `norms` are those of the query heads of its group; without any, nothing is said of errors after
/// the projection. States are over as many tokens each.
std::vector<Damage> measure_states(const DamagedHead& head,
                                   std::span<const HeldState* const> states,
                                   std::span<const RowRange> parts,
                                   std::span<const OutputNorm> norms);

}  // namespace kvtape
