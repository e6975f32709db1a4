#pragma once

#include "trace/input.hpp"
#include "trace/trace.hpp"

namespace kvtape {

/// The root attributes of a trace, checked.
TraceInfo read_trace_info(const InputGroup& root, bool complete);

/// The attributes and small datasets of one sequence, checked.
SequenceInfo read_sequence(const InputGroup& group);

/// Checks names, types and shapes of the tensors of all layers without reading them; returns the
/// parts that every layer holds.
LayerParts check_layers(const InputGroup& group, const Shape& shape);

/// Fills `out` with the parts asked for from one layer's group, on `threads` threads.
void read_layer(const InputGroup& layer,
                const Shape& shape,
                const SequenceInfo& sequence,
                const LayerParts& parts,
                LayerData& out,
                int threads);

/// Whether everything a finished sequence has is there. Looks at names only.
bool is_finished(const InputGroup& group, const Shape& shape);

}  // namespace kvtape
