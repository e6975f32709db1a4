#pragma once

#include "trace/trace.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// Recorded query rows `[first, first + count)` of a sequence, by index into `query_positions`.
struct RowRange {
    std::int32_t first = 0;
    std::int32_t count = 0;
};

/// The recorded rows whose positions lie in `[begin, end)`.
RowRange rows_between(const SequenceInfo& sequence, Position begin, Position end);

/// The probes: all recorded queries of the question and the answer.
RowRange probe_rows(const SequenceInfo& sequence);
/// The queries that produced the answer: positions prompt_len - 1 .. T - 2, and prompt_len - 1
/// where nothing was generated.
RowRange answer_rows(const SequenceInfo& sequence);

/// Attention of recorded queries of one query head in the full run.
struct ProbeAttention {
    /// [rows, T], unnormalised: element (r, j) is exp(logit - largest[r]), 0 where row r does not
    /// see key j.
    Matrix weights;
    std::vector<float> largest;  ///< logit of every row
};

/// The queries `rows` of one query head, times the softmax scale: [rows, head_dim].
Matrix scaled_queries(const Shape& shape,
                      const SequenceInfo& sequence,
                      const LayerData& layer,
                      std::int32_t query_head,
                      RowRange rows);

/// Over all keys that each of `rows` saw. Recomputed from queries and keys; nothing else that was
/// recorded enters.
ProbeAttention probe_attention(const Shape& shape,
                               const SequenceInfo& sequence,
                               std::optional<Position> window,
                               const LayerData& layer,
                               std::int32_t query_head,
                               RowRange rows);

}  // namespace kvtape
