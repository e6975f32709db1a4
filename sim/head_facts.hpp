#pragma once

#include "core/types.hpp"
#include "sim/probes.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <vector>

namespace kvtape {

/// What is measured of one KV head whatever a policy keeps: attention of the full run.
struct HeadFacts {
    std::vector<ProbeAttention> attention;  ///< per query head, over probes and answer rows
    RowRange probes, answers;               ///< inside those rows
    std::vector<Position> needle;
    double needle_weight = 0.0;            ///< m of metrics.md, section 1
    std::vector<double> needle_attention;  ///< of the answer's queries, per needle token

    std::vector<MatrixView> rows(RowRange range) const;
};

/// From a loaded layer with keys and queries.
HeadFacts facts_of(const TraceInfo& info,
                   const SequenceInfo& sequence,
                   std::int32_t layer,
                   const LayerData& data,
                   std::int32_t kv_head);

}  // namespace kvtape
