#pragma once

#include "core/types.hpp"
#include "trace/input.hpp"
#include "trace/output.hpp"
#include "trace/reader.hpp"

#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// The root of a decision file: which policy decided what over which trace.
struct DecisionInfo {
    std::string producer;
    std::string trace_fingerprint;
    std::string policy;      ///< name
    std::string parameters;  ///< JSON, sorted keys, no spaces: every parameter with the value used
    std::string budget;      ///< as the user wrote it
    std::string schedule;
    std::string query_source;
    std::string loop;         ///< `replay`, `live-cpu` or `live-cuda`
    std::string fingerprint;  ///< 32 hex digits
    std::uint64_t seed = 0;
    bool complete = true;
};

/// One sequence of a decision file without its arrays.
struct DecisionSequence {
    std::string name;              ///< of the sequence in the trace
    std::int64_t kept_tokens = 0;  ///< over layers and KV heads
    std::int64_t kept_bytes = 0;   ///< keys and values as the policy stores them
    std::int64_t full_bytes = 0;
    std::vector<Block> blocks;
};

/// The keys and values that merging gave to entries of one layer.
struct MergedEntries {
    struct Entry {
        std::int32_t block = 0;  ///< at whose end it took others in
        std::int32_t kv_head = 0;
        Position position = 0;
        auto operator<=>(const Entry&) const = default;
    };
    std::vector<Entry> entries;  ///< ascending
    std::vector<float> keys;     ///< [entries, head_dim], after RoPE
    std::vector<float> values;   ///< [entries, head_dim]

    bool operator==(const MergedEntries&) const = default;
};

/// The fate of every token of one layer. [kv_heads, T] each.
struct LayerFate {
    std::vector<std::int32_t> evicted_at;  ///< index into the blocks, -1 = never
    /// Position of the absorbing entry, -1 = none. A writer takes empty for none at all.
    std::vector<std::int32_t> merged_into;
    std::vector<float> scores;  ///< empty when not stored
    MergedEntries merged = {};  ///< empty when nothing was merged
};

/// Writes a decision file, one sequence at a time, under the rules of `TraceWriter`, but destroyed
/// before `finish()` it leaves nothing.
class DecisionWriter {
  public:
    DecisionWriter(const std::filesystem::path& path,
                   const DecisionInfo& info,
                   Existing existing = Existing::refuse);

    /// Sequences come in ascending order of their names.
    void begin_sequence(const DecisionSequence& sequence, std::int32_t kv_heads, Position tokens);
    /// Layers come in ascending order; some may be left out.
    void write_layer(std::int32_t layer, const LayerFate& fate);
    void end_sequence();
    /// Completes and renames the file; returns its fingerprint.
    std::string finish();

  private:
    struct OpenSequence {
        OutputGroup layers;
        std::int64_t kv_heads = 0;
        std::int64_t tokens = 0;
    };

    OutputFile file_;
    std::optional<OutputGroup> sequences_;
    std::optional<OpenSequence> open_;
};

/// An open decision file. Types and shapes are checked before arrays are read, and every value that
/// an array may hold when it is. Any thread may use it.
class DecisionFile {
  public:
    const DecisionInfo& info() const { return info_; }
    std::int32_t sequences() const { return static_cast<std::int32_t>(sequences_.size()); }
    const DecisionSequence& sequence(std::int32_t index) const;
    /// Of one sequence, ascending.
    const std::vector<std::int32_t>& layers(std::int32_t sequence) const;
    std::int32_t kv_heads(std::int32_t sequence) const;
    Position tokens(std::int32_t sequence) const;
    LayerFate load(std::int32_t sequence, std::int32_t layer) const;

  private:
    friend std::unique_ptr<const DecisionFile> open_decisions(const std::filesystem::path&,
                                                              Unfinished);
    struct Slot {
        InputGroup layers_group;
        DecisionSequence about;
        std::vector<std::int32_t> layers;
        std::int64_t kv_heads = 0;
        std::int64_t tokens = 0;
    };
    DecisionFile(const InputGroup& root, Unfinished unfinished);
    const Slot& slot(std::int32_t index) const;

    DecisionInfo info_;
    std::vector<Slot> sequences_;
};

/// Opens a decision file; errors as for `open_trace`.
std::unique_ptr<const DecisionFile> open_decisions(const std::filesystem::path& path,
                                                   Unfinished unfinished = Unfinished::refuse);

}  // namespace kvtape
