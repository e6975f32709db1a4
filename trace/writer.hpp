#pragma once

#include "trace/layer_layout.hpp"
#include "trace/output.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace kvtape {

/// Writes a trace, one sequence at a time, to `<path>.partial`; `finish()` gives it its name.
/// Destroyed before that, it leaves the `.partial`, whose ended sequences `Unfinished::allow`
/// reads. The same content gives the same bytes. Calls out of order are internal errors; content
/// that no reader would accept is a format error; the rest are io errors that name the file.
class TraceWriter {
  public:
    /// Uses the shape, producer, created_utc, model_id, model_config, rope and sliding_window.
    TraceWriter(const std::filesystem::path& path,
                const TraceInfo& info,
                Existing existing = Existing::refuse);

    /// Optional, before the first sequence: W_o `[hidden_size, query_heads * head_dim]`.
    void write_output_projection(std::int32_t layer, std::span<const float> weights);

    /// Begins the next sequence. Its name is its number, whatever `sequence.name` says.
    void begin_sequence(const SequenceInfo& sequence);
    /// Layers in order. Optional tensors are written when they are not empty; element-type tensors
    /// are rounded to the element type.
    void write_layer(std::int32_t layer, const LayerData& data);
    /// Flushes: the sequence now survives a kill.
    void end_sequence();

    /// Completes and renames the file; returns its fingerprint.
    std::string finish();

  private:
    struct OpenSequence {
        OutputGroup layers;
        SequenceSizes sizes;
        std::int32_t next_layer = 0;
    };

    Shape shape_;
    OutputFile file_;
    std::optional<OutputGroup> projections_;
    std::optional<OutputGroup> sequences_;
    std::optional<OpenSequence> open_;
    std::int64_t next_sequence_ = 0;
};

}  // namespace kvtape
