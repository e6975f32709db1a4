#pragma once

#include "core/json.hpp"
#include "core/types.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// What a span of tokens is.
enum class SpanKind : std::int32_t {
    system = 0,
    context = 1,
    needle = 2,
    question = 3,
    answer = 4,
    distractor = 5
};

/// Tokens `[begin, end)`. `group` ties a needle to its question; -1 ties it to none.
struct Span {
    SpanKind kind = SpanKind::context;
    Position begin = 0;
    Position end = 0;
    std::int32_t group = -1;
    bool operator==(const Span&) const = default;
};

/// The root of a trace: the model that ran.
struct TraceInfo {
    Shape shape;
    std::string schema = "1.0";
    std::string producer;
    std::string created_utc;
    std::string fingerprint;  ///< 32 hex digits
    std::string model_id;
    std::string model_config;  ///< the checkpoint's config.json, verbatim
    std::string rope = "{}";   ///< JSON: theta, scaling, rotary_dim, layout, inv_freq
    std::vector<std::optional<Position>> sliding_window;  ///< per layer; none = full attention
    bool complete = true;
};

/// Tr, the rows recorded of a second pass over these pieces.
inline std::int64_t replayed_rows(std::span<const ReplayChunk> chunks) {
    return chunks.empty() ? 0 : std::int64_t{chunks.back().first} + chunks.back().count;
}

/// One recorded sequence without its tensors.
struct SequenceInfo {
    std::string name;          ///< four digits
    Position prompt_len = 0;   ///< tokens before the first generated one
    Position context_len = 0;  ///< position where the question begins
    std::string task;
    std::uint64_t seed = 0;
    std::string answer;
    std::string generated_text;
    std::int8_t correct = -1;  ///< 1, 0 or -1 when not judged
    std::string device;

    std::vector<std::int32_t> tokens;        ///< T ids
    std::string text;                        ///< all tokens, concatenated UTF-8
    std::vector<std::int64_t> text_offsets;  ///< T + 1
    std::vector<Span> spans;
    std::vector<Position> query_positions;   ///< Tq, ascending
    std::vector<ReplayChunk> replay_chunks;  ///< cover the context in order; optional
    std::int32_t top_logits = 0;             ///< K of the two arrays below
    std::vector<float> logits_top;           ///< [n_gen, K]
    std::vector<std::int32_t> logits_top_ids;

    Position length() const { return static_cast<Position>(tokens.size()); }
    Position generated() const { return length() - prompt_len; }
    /// Tr, rows recorded of the second pass.
    std::int64_t replayed() const { return replayed_rows(replay_chunks); }
};

/// Which tensors of a layer to load.
struct LayerParts {
    bool keys = false;
    bool values = false;
    bool queries = false;
    bool outputs = false;
    bool logsumexp = false;
    bool column_sums = false;
    bool attention = false;  ///< optional in a trace, as are those below
    bool query_mean = false;
    bool query_covariance = false;
    bool replay_queries = false;
    bool replay_logsumexp = false;
    bool replay_hidden_norm = false;
    bool operator==(const LayerParts&) const = default;
};

/// The parts that every trace holds.
inline constexpr LayerParts always_recorded = {.keys = true,
                                               .values = true,
                                               .queries = true,
                                               .outputs = true,
                                               .logsumexp = true,
                                               .column_sums = true};

/// One layer of one sequence as float32, caller-owned and reused. Empty where not asked for.
struct LayerData {
    std::vector<float> keys;                ///< [kv_heads, T, head_dim], after RoPE
    std::vector<float> values;              ///< [kv_heads, T, head_dim]
    std::vector<float> queries;             ///< [query_heads, Tq, head_dim], after RoPE, unscaled
    std::vector<float> outputs;             ///< [query_heads, Tq, head_dim], before W_o
    std::vector<float> logsumexp;           ///< [query_heads, Tq]
    std::vector<float> column_sums;         ///< [query_heads, T], over context queries
    std::vector<float> attention;           ///< [query_heads, Tq, T], probability rows
    std::vector<float> query_mean;          ///< [query_heads, head_dim], before RoPE
    std::vector<float> query_covariance;    ///< [query_heads, head_dim, head_dim], before RoPE
    std::vector<float> replay_queries;      ///< [query_heads, Tr, head_dim], after RoPE, unscaled
    std::vector<float> replay_logsumexp;    ///< [query_heads, Tr]
    std::vector<float> replay_hidden_norm;  ///< [Tr], of the input of the attention block
};

/// A recorded run: a file (`trace/reader.hpp`) or tensors in memory (tests, benchmarks).
class Trace {
  public:
    virtual ~Trace() = default;
    virtual const TraceInfo& info() const = 0;
    virtual std::int32_t sequences() const = 0;
    /// Loaded on demand; the reference lives as long as the trace.
    virtual const SequenceInfo& sequence(std::int32_t index) const = 0;
    /// Fills the parts asked for. Checksums are verified on the way.
    virtual void load(std::int32_t sequence,
                      std::int32_t layer,
                      const LayerParts& parts,
                      LayerData& out) const = 0;
    /// Puts into `data`, which was loaded, the rows of the tokens behind `moment` as they were when
    /// their queries were asked there, over a cache that was compressed by then. A recording was
    /// never compressed: its rows are the same at every moment, and this does nothing.
    virtual void load_probes(std::int32_t sequence,
                             std::int32_t layer,
                             Position moment,
                             LayerData& data) const {
        static_cast<void>(sequence);
        static_cast<void>(layer);
        static_cast<void>(moment);
        static_cast<void>(data);
    }
    /// Makes sure, before results are computed, that the trace is what its writer wrote. Loading
    /// tells by checksums; only where these leave something out is the fingerprint recomputed.
    virtual void verify() const {}
    /// The parts that every layer of this sequence holds.
    virtual LayerParts stored(std::int32_t sequence) const {
        static_cast<void>(sequence);
        return always_recorded;
    }
    /// Whether every layer has its W_o recorded; reads none.
    virtual bool has_output_projections() const { return false; }
    /// W_o of a layer, [hidden_size, query_heads * head_dim]; empty where it was not recorded.
    virtual std::vector<float> output_projection(std::int32_t layer) const {
        static_cast<void>(layer);
        return {};
    }
};

}  // namespace kvtape
