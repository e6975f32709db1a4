#pragma once

#include "trace/trace.hpp"
#include "trace/writer.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace kvtape::tests {

/// An empty folder that goes away with everything in it.
class Folder {
  public:
    Folder() {
        static std::atomic<int> counter = 0;
        path_ = std::filesystem::temp_directory_path() /
                ("kvtape-test-" + std::to_string(getpid()) + "-" + std::to_string(counter++));
        std::filesystem::create_directories(path_);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

inline std::filesystem::path golden(const std::string& name) {
    return std::filesystem::path(KVTAPE_SOURCE_DIR) / "tests" / "golden" / name;
}

inline std::string bytes_of_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// A small model: 2 layers, 4 query heads on 2 KV heads, 8 dimensions.
inline TraceInfo sample_info(ElementType type = ElementType::float32) {
    TraceInfo info;
    info.shape = {.layers = 2,
                  .query_heads = 4,
                  .kv_heads = 2,
                  .head_dim = 8,
                  .hidden_size = 16,
                  .softmax_scale = 0.25,
                  .element_type = type};
    info.producer = "kvtape test";
    info.created_utc = "2026-01-01T00:00:00Z";
    info.model_id = "sample";
    info.model_config = R"({"model_type": "sample", "note": "mötley"})";
    info.rope = R"({"theta": 10000.0})";
    info.sliding_window = {std::nullopt, 128};
    return info;
}

/// `length` tokens of which the last four are generated and four before them are the question.
inline SequenceInfo sample_sequence(Position length = 20) {
    SequenceInfo sequence;
    sequence.prompt_len = length - 4;
    sequence.context_len = length - 8;
    sequence.task = "passkey";
    sequence.seed = 18446744073709551615u;
    sequence.answer = "4711";
    sequence.generated_text = "It is 4711 – ¿sí?";
    sequence.correct = 1;
    sequence.device = "cpu";
    sequence.text_offsets.push_back(0);
    for (Position token = 0; token < length; ++token) {
        sequence.tokens.push_back(token * 7 % 50);
        sequence.text += token % 5 == 0 ? "ä" : "xy ";
        sequence.text_offsets.push_back(static_cast<std::int64_t>(sequence.text.size()));
    }
    sequence.spans = {{SpanKind::context, 0, length - 8, -1}, {SpanKind::needle, 3, 6, 0}};
    for (Position position = length - 10; position < length; ++position)
        sequence.query_positions.push_back(position);
    sequence.top_logits = 3;
    for (int index = 0; index < 4 * 3; ++index) {
        sequence.logits_top.push_back(1.5f - static_cast<float>(index));
        sequence.logits_top_ids.push_back(index * 3);
    }
    return sequence;
}

/// Numbers that every element type holds exactly, different everywhere.
inline std::vector<float> numbers(std::size_t count, int salt) {
    std::vector<float> values(count);
    for (std::size_t index = 0; index < count; ++index)
        values[index] =
            static_cast<float>((static_cast<int>(index % 251) * 7 + salt) % 256 - 128) / 32;
    return values;
}

inline LayerData sample_layer(const Shape& shape, const SequenceInfo& sequence, int salt) {
    const auto heads = static_cast<std::size_t>(shape.query_heads);
    const auto kv_heads = static_cast<std::size_t>(shape.kv_heads);
    const auto width = static_cast<std::size_t>(shape.head_dim);
    const std::size_t tokens = sequence.tokens.size();
    const std::size_t queries = sequence.query_positions.size();
    LayerData data;
    data.keys = numbers(kv_heads * tokens * width, 6 * salt);
    data.values = numbers(kv_heads * tokens * width, 6 * salt + 1);
    data.queries = numbers(heads * queries * width, 6 * salt + 2);
    data.outputs = numbers(heads * queries * width, 6 * salt + 3);
    data.logsumexp = numbers(heads * queries, 6 * salt + 4);
    data.column_sums = numbers(heads * tokens, 6 * salt + 5);
    return data;
}

/// Writes a trace of `sequences` sample sequences of 20, 21, ... tokens; returns its fingerprint.
inline std::string write_sample(const std::filesystem::path& path,
                                const TraceInfo& info = sample_info(),
                                int sequences = 2,
                                Existing existing = Existing::refuse) {
    TraceWriter writer(path, info, existing);
    for (int index = 0; index < sequences; ++index) {
        const SequenceInfo sequence = sample_sequence(20 + index);
        writer.begin_sequence(sequence);
        for (std::int32_t layer = 0; layer < info.shape.layers; ++layer)
            writer.write_layer(layer, sample_layer(info.shape, sequence, 10 * index + layer));
        writer.end_sequence();
    }
    return writer.finish();
}

inline constexpr LayerParts every_part = {.keys = true,
                                          .values = true,
                                          .queries = true,
                                          .outputs = true,
                                          .logsumexp = true,
                                          .column_sums = true,
                                          .attention = true,
                                          .query_mean = true,
                                          .query_covariance = true,
                                          .replay_queries = true,
                                          .replay_logsumexp = true,
                                          .replay_hidden_norm = true};

}  // namespace kvtape::tests
