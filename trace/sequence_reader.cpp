#include "trace/sequence_reader.hpp"

#include "core/error.hpp"
#include "core/half.hpp"
#include "core/memory.hpp"
#include "trace/array.hpp"
#include "trace/layer_layout.hpp"
#include "trace/root.hpp"
#include "trace/schema.hpp"
#include "trace/validate.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>

namespace kvtape {
namespace {

constexpr std::int64_t most_tokens = std::numeric_limits<Position>::max();

ElementType element_type(const InputGroup& root) {
    const std::string name = root.text(schema::element_type);
    for (const ElementType type :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16})
        if (name == name_of(type))
            return type;
    root.fail("has element_type '" + name.substr(0, 40) +
              "', expected float32, float16 or bfloat16");
}

std::vector<std::optional<Position>> sliding_windows(const InputGroup& root) {
    const Json list = parse_json(root.text(schema::sliding_window), schema::sliding_window);
    if (!list.is_array())
        throw format_error("sliding_window is not a JSON list");
    std::vector<std::optional<Position>> windows;
    for (const Json& entry : list) {
        if (entry.is_null())
            windows.emplace_back();
        else if (entry.is_number_unsigned() && entry.get<std::uint64_t>() <= most_tokens)
            windows.emplace_back(entry.get<Position>());
        else
            throw format_error("sliding_window holds something else than token counts and null");
    }
    return windows;
}

/// A dataset of one dimension.
template <typename Number>
std::vector<Number> list(const InputGroup& group, const char* name, const h5::Type& type) {
    const InputArray array = group.array(name);
    array.expect_type(type);
    array.expect_rank(1);
    if (array.elements() > most_tokens)
        array.fail("has " + std::to_string(array.elements()) + " entries, more than kvtape counts");
    return array.numbers<Number>();
}

std::vector<Span> read_spans(const InputGroup& group) {
    const InputArray array = group.array(schema::spans);
    array.expect_type(h5::stored_type(h5::Number::int32));
    array.expect_rank(2);
    array.expect_shape({array.dimensions()[0], 4});
    const std::vector<std::int32_t> rows = array.numbers<std::int32_t>();
    std::vector<Span> spans;
    for (std::size_t row = 0; row + 3 < rows.size(); row += 4)
        spans.push_back(
            {static_cast<SpanKind>(rows[row]), rows[row + 1], rows[row + 2], rows[row + 3]});
    return spans;
}

std::vector<ReplayChunk> read_replay_chunks(const InputGroup& group) {
    if (!group.has(schema::replay_chunks))
        return {};
    const InputArray array = group.array(schema::replay_chunks);
    array.expect_type(h5::stored_type(h5::Number::int32));
    array.expect_rank(2);
    array.expect_shape({array.dimensions()[0], 4});
    const std::vector<std::int32_t> rows = array.numbers<std::int32_t>();
    std::vector<ReplayChunk> chunks;
    for (std::size_t row = 0; row + 3 < rows.size(); row += 4)
        chunks.push_back({rows[row], rows[row + 1], rows[row + 2], rows[row + 3]});
    return chunks;
}

void read_logits(const InputGroup& group, SequenceInfo& sequence) {
    const InputArray values = group.array(schema::logits_top);
    const InputArray ids = group.array(schema::logits_top_ids);
    values.expect_type(h5::stored_type(ElementType::float32));
    ids.expect_type(h5::stored_type(h5::Number::int32));
    values.expect_rank(2);
    const std::int64_t width = std::min(values.dimensions()[1], most_tokens);
    values.expect_shape({sequence.generated(), width});
    ids.expect_shape({sequence.generated(), width});
    sequence.top_logits = static_cast<std::int32_t>(width);
    sequence.logits_top = values.numbers<float>();
    sequence.logits_top_ids = ids.numbers<std::int32_t>();
}

void expect_dimensions(const InputArray& array, const std::vector<std::int64_t>& dimensions) {
    if (array.dimensions() != dimensions)
        array.fail("has shape " + text_of(array.dimensions()) + ", expected " +
                   text_of(dimensions));
}

InputArray open_tensor(const InputGroup& layer,
                       const TensorLayout& tensor,
                       const Shape& shape,
                       const SequenceSizes& sizes) {
    InputArray array = layer.array(tensor.name);
    array.expect_type(h5::stored_type(tensor.type(shape)));
    expect_dimensions(array, tensor.dimensions(shape, sizes));
    return array;
}

std::int64_t length_of(const InputGroup& group, const char* name) {
    const InputArray array = group.array(name);
    array.expect_rank(1);
    return array.dimensions()[0];
}

}  // namespace

TraceInfo read_trace_info(const InputGroup& root, bool complete) {
    TraceInfo info;
    info.complete = complete;
    info.schema = root.text(schema::trace_mark);
    info.producer = root.text(schema::producer);
    info.created_utc = root.text(schema::created_utc);
    info.fingerprint = read_fingerprint(root, complete);
    info.model_id = root.text(schema::model_id);
    info.model_config = root.text(schema::model_config);
    info.rope = root.text(schema::rope);
    info.shape = {.layers = root.int32(schema::layers),
                  .query_heads = root.int32(schema::query_heads),
                  .kv_heads = root.int32(schema::kv_heads),
                  .head_dim = root.int32(schema::head_dim),
                  .hidden_size = root.int32(schema::hidden_size),
                  .softmax_scale = root.float64(schema::softmax_scale),
                  .element_type = element_type(root)};
    try {
        info.sliding_window = sliding_windows(root);
        validate(info);
    } catch (Error& error) {
        error.add(root.file().name());
        throw;
    }
    return info;
}

SequenceInfo read_sequence(const InputGroup& group) {
    SequenceInfo sequence;
    sequence.name = group.path().substr(group.path().rfind('/') + 1);
    sequence.prompt_len = group.int32(schema::prompt_len);
    sequence.context_len = group.int32(schema::context_len);
    sequence.task = group.text(schema::task);
    sequence.seed = group.uint64(schema::seed);
    sequence.answer = group.text(schema::answer);
    sequence.generated_text = group.text(schema::generated_text);
    sequence.correct = group.int8(schema::correct);
    sequence.device = group.text(schema::device);
    const h5::Type int32 = h5::stored_type(h5::Number::int32);
    sequence.tokens = list<std::int32_t>(group, schema::tokens, int32);
    const std::vector<char> text =
        list<char>(group, schema::text, h5::stored_type(h5::Number::uint8));
    sequence.text.assign(text.begin(), text.end());
    sequence.text_offsets =
        list<std::int64_t>(group, schema::text_offsets, h5::stored_type(h5::Number::int64));
    sequence.query_positions = list<Position>(group, schema::query_positions, int32);
    sequence.spans = read_spans(group);
    sequence.replay_chunks = read_replay_chunks(group);
    if (sequence.prompt_len >= 0 && sequence.prompt_len <= sequence.length())
        read_logits(group, sequence);
    try {
        validate(sequence);
    } catch (Error& error) {
        error.add(group.file().name() + ": " + group.path());
        throw;
    }
    return sequence;
}

std::vector<LayerArrays> open_layers(const InputGroup& group, const Shape& shape) {
    const SequenceSizes sizes{.tokens = length_of(group, schema::tokens),
                              .queries = length_of(group, schema::query_positions),
                              .replayed = replayed_rows(read_replay_chunks(group))};
    const InputGroup layers = group.group(schema::layers);
    std::vector<LayerArrays> opened;
    for (std::int32_t index = 0; index < shape.layers; ++index) {
        const InputGroup layer = layers.group(schema::layer_name(index));
        LayerArrays& arrays = opened.emplace_back();
        for (const TensorLayout& tensor : layer_tensors()) {
            if (tensor.required() || layer.has(tensor.name))
                arrays.emplace_back(open_tensor(layer, tensor, shape, sizes));
            else
                arrays.emplace_back();
        }
    }
    return opened;
}

LayerParts parts_of(std::span<const LayerArrays> layers) {
    LayerParts everywhere;
    for (std::size_t i = 0; i < layer_tensors().size(); ++i)
        everywhere.*layer_tensors()[i].part =
            std::all_of(layers.begin(), layers.end(), [i](const LayerArrays& layer) {
                return layer[i].has_value();
            });
    return everywhere;
}

void read_layer(const LayerArrays& layer,
                const Shape& shape,
                const LayerParts& parts,
                LayerData& out,
                int threads) {
    for (std::size_t i = 0; i < layer.size(); ++i) {
        const TensorLayout& tensor = layer_tensors()[i];
        std::vector<float>& values = out.*tensor.values;
        if (!(parts.*tensor.part)) {
            values.clear();
            continue;
        }
        if (!layer[i])
            throw internal_error(std::string("reading a layer: it has no ") + tensor.name);
        const InputArray& array = *layer[i];
        resize_scratch(values, static_cast<std::size_t>(array.elements()));
        const ElementType type = tensor.type(shape);
        const auto decoded = [&](std::size_t element, std::span<const std::byte> bytes) {
            decode(type,
                   bytes,
                   std::span(values).subspan(element, bytes.size() / array.element_bytes()));
        };
        array.read(decoded, threads);
    }
}

bool is_finished(const InputGroup& group, const Shape& shape) {
    using Words = std::initializer_list<const char*>;
    for (const char* name : Words{schema::prompt_len,
                                  schema::context_len,
                                  schema::task,
                                  schema::seed,
                                  schema::answer,
                                  schema::generated_text,
                                  schema::correct,
                                  schema::device})
        if (!group.has_attribute(name))
            return false;
    for (const char* name : Words{schema::tokens,
                                  schema::text,
                                  schema::text_offsets,
                                  schema::spans,
                                  schema::query_positions,
                                  schema::logits_top,
                                  schema::logits_top_ids,
                                  schema::layers})
        if (!group.has(name))
            return false;
    const InputGroup layers = group.group(schema::layers);
    for (std::int32_t index = 0; index < shape.layers; ++index) {
        const std::string name = schema::layer_name(index);
        if (!layers.has(name))
            return false;
        const InputGroup layer = layers.group(name);
        for (const TensorLayout& tensor : layer_tensors())
            if (tensor.required() && !layer.has(tensor.name))
                return false;
    }
    return true;
}

}  // namespace kvtape
