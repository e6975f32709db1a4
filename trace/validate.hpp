#pragma once

#include "trace/trace.hpp"

namespace kvtape {

/// Whether what a trace says fits together; throws a format error that says what does not.

/// Head counts and sizes positive and within reach, query heads a multiple of KV heads, a finite
/// positive scale.
void validate(const Shape& shape);
/// The shape, `rope` a JSON object whose numbers fit the heads, one sliding window per layer.
void validate(const TraceInfo& info);
/// context_len <= prompt_len <= T, offsets that rise to the end of the text, spans and query
/// positions in range, as many logits as generated tokens, none of them NaN.
void validate(const SequenceInfo& sequence);

}  // namespace kvtape
