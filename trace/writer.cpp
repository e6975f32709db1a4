#include "trace/writer.hpp"

#include "core/error.hpp"
#include "trace/layer_layout.hpp"
#include "trace/schema.hpp"
#include "trace/validate.hpp"

#include <vector>

namespace kvtape {
namespace {

const TraceInfo& validated(const TraceInfo& info) {
    validate(info);
    return info;
}

void expect(bool holds, const char* misuse) {
    if (!holds)
        throw internal_error(std::string("writing a trace: ") + misuse);
}

std::string sliding_window_text(const TraceInfo& info) {
    Json list = Json::array();
    for (const std::optional<Position>& window : info.sliding_window)
        list.push_back(window ? Json(*window) : Json());
    return to_text(list);
}

void write_attributes(const OutputGroup& group, const SequenceInfo& sequence) {
    group.text(schema::answer, sequence.answer);
    group.int32(schema::context_len, sequence.context_len);
    group.int8(schema::correct, sequence.correct);
    group.text(schema::device, sequence.device);
    group.text(schema::generated_text, sequence.generated_text);
    group.int32(schema::prompt_len, sequence.prompt_len);
    group.uint64(schema::seed, sequence.seed);
    group.text(schema::task, sequence.task);
}

void write_arrays(const OutputGroup& group, const SequenceInfo& sequence) {
    using Sizes = std::vector<std::int64_t>;
    const auto list = [](const auto& values) {
        return Sizes{static_cast<std::int64_t>(values.size())};
    };
    const h5::Type int32 = h5::stored_type(h5::Number::int32);
    const Sizes logits = {sequence.generated(), sequence.top_logits};
    std::vector<std::int32_t> spans;
    for (const Span& span : sequence.spans)
        spans.insert(spans.end(),
                     {static_cast<std::int32_t>(span.kind), span.begin, span.end, span.group});
    group.floats(
        schema::logits_top, ElementType::float32, logits, Chunking::rows, sequence.logits_top);
    group.array<std::int32_t>(
        schema::logits_top_ids, int32, logits, Chunking::rows, sequence.logits_top_ids);
    group.array<Position>(schema::query_positions,
                          int32,
                          list(sequence.query_positions),
                          Chunking::rows,
                          sequence.query_positions);
    if (!sequence.replay_chunks.empty()) {
        std::vector<std::int32_t> chunks;
        for (const ReplayChunk& chunk : sequence.replay_chunks)
            chunks.insert(chunks.end(), {chunk.begin, chunk.end, chunk.first, chunk.count});
        group.array<std::int32_t>(schema::replay_chunks,
                                  int32,
                                  {std::ssize(sequence.replay_chunks), 4},
                                  Chunking::rows,
                                  chunks);
    }
    group.array<std::int32_t>(schema::spans,
                              int32,
                              {static_cast<std::int64_t>(sequence.spans.size()), 4},
                              Chunking::rows,
                              spans);
    group.array<char>(schema::text,
                      h5::stored_type(h5::Number::uint8),
                      list(sequence.text),
                      Chunking::rows,
                      sequence.text);
    group.array<std::int64_t>(schema::text_offsets,
                              h5::stored_type(h5::Number::int64),
                              list(sequence.text_offsets),
                              Chunking::rows,
                              sequence.text_offsets);
    group.array<std::int32_t>(
        schema::tokens, int32, list(sequence.tokens), Chunking::rows, sequence.tokens);
}

}  // namespace

TraceWriter::TraceWriter(const std::filesystem::path& path,
                         const TraceInfo& info,
                         Existing existing)
    : shape_(validated(info).shape),
      file_(path, existing, schema::trace_mark, info.producer, Unended::keep) {
    const OutputGroup& root = file_.root();
    root.text(schema::created_utc, info.created_utc);
    root.text(schema::model_id, info.model_id);
    root.text(schema::model_config, info.model_config);
    root.int32(schema::layers, shape_.layers);
    root.int32(schema::query_heads, shape_.query_heads);
    root.int32(schema::kv_heads, shape_.kv_heads);
    root.int32(schema::head_dim, shape_.head_dim);
    root.int32(schema::hidden_size, shape_.hidden_size);
    root.float64(schema::softmax_scale, shape_.softmax_scale);
    root.text(schema::rope, info.rope);
    root.text(schema::sliding_window, sliding_window_text(info));
    root.text(schema::element_type, std::string(name_of(shape_.element_type)));
}

void TraceWriter::write_output_projection(std::int32_t layer, std::span<const float> weights) {
    expect(!sequences_, "projections come before the sequences");
    expect(layer >= 0 && layer < shape_.layers, "a projection of a layer that is not there");
    if (!projections_)
        projections_ = file_.root().group(schema::model).group(schema::layers);
    projections_->group(schema::layer_name(layer))
        .floats(schema::output_projection,
                shape_.element_type,
                {shape_.hidden_size, std::int64_t{shape_.query_heads} * shape_.head_dim},
                Chunking::rows,
                weights);
}

void TraceWriter::begin_sequence(const SequenceInfo& sequence) {
    expect(!open_, "a sequence begins before the last one ended");
    validate(sequence);
    if (next_sequence_ == schema::most_sequences)
        throw usage_error("a trace holds up to " + std::to_string(schema::most_sequences) +
                          " sequences; write a second one");
    if (!sequences_)
        sequences_ = file_.root().group(schema::sequences);
    const OutputGroup group = sequences_->group(schema::sequence_name(next_sequence_));
    write_attributes(group, sequence);
    write_arrays(group, sequence);
    open_ = OpenSequence{group.group(schema::layers),
                         {.tokens = sequence.length(),
                          .queries = std::ssize(sequence.query_positions),
                          .replayed = sequence.replayed()},
                         0};
}

void TraceWriter::write_layer(std::int32_t layer, const LayerData& data) {
    expect(open_.has_value(), "a layer outside of a sequence");
    expect(layer == open_->next_layer && layer < shape_.layers, "layers come in order, each once");
    const OutputGroup group = open_->layers.group(schema::layer_name(layer));
    for (const TensorLayout& tensor : layer_tensors()) {
        const std::vector<float>& values = data.*tensor.values;
        if (values.empty() && !tensor.required())
            continue;
        group.floats(tensor.name,
                     tensor.type(shape_),
                     tensor.dimensions(shape_, open_->sizes),
                     Chunking::heads,
                     values);
    }
    ++open_->next_layer;
}

void TraceWriter::end_sequence() {
    expect(open_.has_value(), "a sequence ends that never began");
    expect(open_->next_layer == shape_.layers, "a sequence ends before its last layer");
    open_.reset();
    sequences_.reset();
    projections_.reset();
    file_.settle();
    ++next_sequence_;
}

std::string TraceWriter::finish() {
    expect(!open_, "the file is finished inside of a sequence");
    if (!sequences_)
        sequences_ = file_.root().group(schema::sequences);
    sequences_.reset();
    projections_.reset();
    return file_.finish();
}

}  // namespace kvtape
