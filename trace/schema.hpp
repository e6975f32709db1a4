#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

/// Names and limits of the two files, written once. docs/trace-format.md explains them.
namespace kvtape::schema {

inline constexpr std::string_view version = "1.0";  ///< what we write
inline constexpr int major_version = 1;             ///< the one major version we read; any minor

inline constexpr char trace_mark[] = "kvtape_trace";
inline constexpr char decisions_mark[] = "kvtape_decisions";
inline constexpr char scores_mark[] = "kvtape_scores";

inline constexpr char complete[] = "complete";
inline constexpr char producer[] = "producer";
inline constexpr char created_utc[] = "created_utc";
inline constexpr char fingerprint[] = "fingerprint";
/// Attributes that the fingerprint leaves out.
inline constexpr std::array<std::string_view, 4> not_hashed = {
    complete, producer, created_utc, fingerprint};

inline constexpr char model_id[] = "model_id";
inline constexpr char model_config[] = "model_config";
inline constexpr char layers[] = "layers";
inline constexpr char query_heads[] = "query_heads";
inline constexpr char kv_heads[] = "kv_heads";
inline constexpr char head_dim[] = "head_dim";
inline constexpr char hidden_size[] = "hidden_size";
inline constexpr char softmax_scale[] = "softmax_scale";
inline constexpr char rope[] = "rope";
inline constexpr char sliding_window[] = "sliding_window";
inline constexpr char element_type[] = "element_type";

inline constexpr char model[] = "model";
inline constexpr char output_projection[] = "output_projection";
inline constexpr char sequences[] = "sequences";

inline constexpr char prompt_len[] = "prompt_len";
inline constexpr char context_len[] = "context_len";
inline constexpr char task[] = "task";
inline constexpr char seed[] = "seed";
inline constexpr char answer[] = "answer";
inline constexpr char generated_text[] = "generated_text";
inline constexpr char correct[] = "correct";
inline constexpr char device[] = "device";

inline constexpr char tokens[] = "tokens";
inline constexpr char text[] = "text";
inline constexpr char text_offsets[] = "text_offsets";
inline constexpr char spans[] = "spans";
inline constexpr char query_positions[] = "query_positions";
inline constexpr char logits_top[] = "logits_top";
inline constexpr char logits_top_ids[] = "logits_top_ids";

inline constexpr char keys[] = "keys";
inline constexpr char values[] = "values";
inline constexpr char queries[] = "queries";
inline constexpr char outputs[] = "outputs";
inline constexpr char logsumexp[] = "logsumexp";
inline constexpr char column_sums[] = "column_sums";
inline constexpr char attention[] = "attention";
inline constexpr char query_mean[] = "query_mean";
inline constexpr char query_covariance[] = "query_covariance";
inline constexpr char replay_chunks[] = "replay_chunks";
inline constexpr char replay_queries[] = "replay_queries";
inline constexpr char replay_logsumexp[] = "replay_logsumexp";
inline constexpr char replay_hidden_norm[] = "replay_hidden_norm";

inline constexpr char trace_fingerprint[] = "trace_fingerprint";
inline constexpr char policy[] = "policy";
inline constexpr char parameters[] = "parameters";
inline constexpr char budget[] = "budget";
inline constexpr char schedule[] = "schedule";
inline constexpr char query_source[] = "query_source";
inline constexpr char loop[] = "loop";
inline constexpr char kept_tokens[] = "kept_tokens";
inline constexpr char kept_bytes[] = "kept_bytes";
inline constexpr char full_bytes[] = "full_bytes";
inline constexpr char blocks[] = "blocks";
inline constexpr char evicted_at[] = "evicted_at";
inline constexpr char merged_into[] = "merged_into";
inline constexpr char scores[] = "scores";
inline constexpr char merged[] = "merged";
inline constexpr char entries[] = "entries";

inline constexpr std::int64_t most_layers = 1000;      ///< three digits
inline constexpr std::int64_t most_sequences = 10000;  ///< four digits
/// No text attribute of either file is longer.
inline constexpr std::size_t longest_text = 16 << 20;

/// `number` with leading zeros: `layer_name(7)` is `007`, `sequence_name(7)` is `0007`.
inline std::string padded(std::int64_t number, std::size_t digits) {
    const std::string plain = std::to_string(number);
    return std::string(digits - std::min(digits, plain.size()), '0') + plain;
}
inline std::string layer_name(std::int64_t layer) {
    return padded(layer, 3);
}
inline std::string sequence_name(std::int64_t sequence) {
    return padded(sequence, 4);
}

}  // namespace kvtape::schema
