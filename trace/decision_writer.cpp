#include "core/error.hpp"
#include "trace/decisions.hpp"
#include "trace/schema.hpp"

namespace kvtape {
namespace {

void expect(bool holds, const char* misuse) {
    if (!holds)
        throw internal_error(std::string("writing decisions: ") + misuse);
}

void write_merged(const OutputGroup& group, const MergedEntries& merged) {
    const auto count = merged.entries.size();
    expect(merged.keys.size() == merged.values.size() && merged.keys.size() % count == 0 &&
               !merged.keys.empty(),
           "merged rows of the wrong size");
    std::vector<std::int32_t> rows;
    for (const MergedEntries::Entry& entry : merged.entries)
        rows.insert(rows.end(), {entry.kv_head, entry.position, entry.block});
    const std::vector<std::int64_t> shape = {std::ssize(merged.entries),
                                             static_cast<std::int64_t>(merged.keys.size() / count)};
    group.array<std::int32_t>(
        schema::entries, h5::stored_type(h5::Number::int32), {shape[0], 3}, Chunking::rows, rows);
    group.floats(schema::keys, ElementType::float32, shape, Chunking::rows, merged.keys);
    group.floats(schema::values, ElementType::float32, shape, Chunking::rows, merged.values);
}

}  // namespace

DecisionWriter::DecisionWriter(const std::filesystem::path& path,
                               const DecisionInfo& info,
                               Existing existing)
    : file_(path, existing, schema::decisions_mark, info.producer, Unended::remove) {
    const OutputGroup& root = file_.root();
    root.text(schema::trace_fingerprint, info.trace_fingerprint);
    root.text(schema::policy, info.policy);
    root.text(schema::parameters, info.parameters);
    root.text(schema::budget, info.budget);
    root.text(schema::schedule, info.schedule);
    root.text(schema::query_source, info.query_source);
    root.text(schema::loop, info.loop);
    root.uint64(schema::seed, info.seed);
}

void DecisionWriter::begin_sequence(const DecisionSequence& sequence,
                                    std::int32_t kv_heads,
                                    Position tokens) {
    expect(!open_, "a sequence begins before the last one ended");
    if (!sequences_)
        sequences_ = file_.root().group(schema::sequences);
    const OutputGroup group = sequences_->group(sequence.name);
    group.int64(schema::full_bytes, sequence.full_bytes);
    group.int64(schema::kept_bytes, sequence.kept_bytes);
    group.int64(schema::kept_tokens, sequence.kept_tokens);
    std::vector<std::int32_t> blocks;
    for (const Block& block : sequence.blocks)
        blocks.insert(blocks.end(), {block.begin, block.end, block.decoding ? 1 : 0});
    group.array<std::int32_t>(schema::blocks,
                              h5::stored_type(h5::Number::int32),
                              {std::ssize(sequence.blocks), 3},
                              Chunking::rows,
                              blocks);
    open_ = OpenSequence{group.group(schema::layers), kv_heads, tokens};
}

void DecisionWriter::write_layer(std::int32_t layer, const LayerFate& fate) {
    expect(open_.has_value(), "a layer outside of a sequence");
    const std::vector<std::int64_t> shape = {open_->kv_heads, open_->tokens};
    const auto elements = static_cast<std::size_t>(open_->kv_heads * open_->tokens);
    expect(fate.evicted_at.size() == elements &&
               (fate.merged_into.empty() || fate.merged_into.size() == elements) &&
               (fate.scores.empty() || fate.scores.size() == elements),
           "an array of the wrong size");
    const OutputGroup group = open_->layers.group(schema::layer_name(layer));
    const h5::Type int32 = h5::stored_type(h5::Number::int32);
    group.array<std::int32_t>(schema::evicted_at, int32, shape, Chunking::heads, fate.evicted_at);
    const std::vector<std::int32_t> nowhere(fate.merged_into.empty() ? elements : 0, -1);
    group.array<std::int32_t>(schema::merged_into,
                              int32,
                              shape,
                              Chunking::heads,
                              nowhere.empty() ? fate.merged_into : nowhere);
    if (!fate.scores.empty())
        group.floats(schema::scores, ElementType::float32, shape, Chunking::heads, fate.scores);
    if (!fate.merged.entries.empty())
        write_merged(group.group(schema::merged), fate.merged);
}

void DecisionWriter::end_sequence() {
    expect(open_.has_value(), "a sequence ends that never began");
    open_.reset();
    sequences_.reset();
    file_.settle();
}

std::string DecisionWriter::finish() {
    expect(!open_, "the file is finished inside of a sequence");
    if (!sequences_)
        sequences_ = file_.root().group(schema::sequences);
    sequences_.reset();
    return file_.finish();
}

}  // namespace kvtape
