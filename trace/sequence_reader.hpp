#pragma once

#include "trace/array.hpp"
#include "trace/input.hpp"
#include "trace/trace.hpp"

#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// The root attributes of a trace, checked.
TraceInfo read_trace_info(const InputGroup& root, bool complete);

/// The attributes and small datasets of one sequence, checked.
SequenceInfo read_sequence(const InputGroup& group);

/// The tensors of one layer in the order of `layer_tensors()`; optional ones may be absent.
using LayerArrays = std::vector<std::optional<InputArray>>;

/// Opens the tensors of all layers of a sequence and checks their names, types and shapes; reads
/// nothing of them.
std::vector<LayerArrays> open_layers(const InputGroup& group, const Shape& shape);

/// The parts that every layer holds.
LayerParts parts_of(std::span<const LayerArrays> layers);

/// Fills `out` with the parts asked for, on `threads` threads.
void read_layer(const LayerArrays& layer,
                const Shape& shape,
                const LayerParts& parts,
                LayerData& out,
                int threads);

/// Whether everything a finished sequence has is there. Looks at names only.
bool is_finished(const InputGroup& group, const Shape& shape);

}  // namespace kvtape
