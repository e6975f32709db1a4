#include "core/error.hpp"
#include "core/half.hpp"
#include "core/json.hpp"
#include "trace/array.hpp"
#include "trace/decisions.hpp"
#include "trace/root.hpp"
#include "trace/schema.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <span>

namespace kvtape {
namespace {

DecisionInfo read_info(const InputGroup& root, bool complete) {
    DecisionInfo info;
    info.complete = complete;
    info.producer = root.text(schema::producer);
    info.trace_fingerprint = root.text(schema::trace_fingerprint);
    info.policy = root.text(schema::policy);
    info.parameters = root.text(schema::parameters);
    info.budget = root.text(schema::budget);
    info.schedule = root.text(schema::schedule);
    info.query_source = root.text(schema::query_source);
    info.loop = root.text(schema::loop);
    info.seed = root.uint64(schema::seed);
    if (complete)
        info.fingerprint = read_fingerprint(root, complete);
    if (!parse_json(info.parameters, root.file().name() + ": parameters").is_object())
        root.fail("has parameters that are not a JSON object");
    return info;
}

std::vector<Block> read_blocks(const InputGroup& group) {
    const InputArray array = group.array(schema::blocks);
    array.expect_type(h5::stored_type(h5::Number::int32));
    array.expect_rank(2);
    array.expect_shape({array.dimensions()[0], 3});
    const std::vector<std::int32_t> rows = array.numbers<std::int32_t>();
    std::vector<Block> blocks;
    for (std::size_t i = 0; i < rows.size(); i += 3) {
        const Block block{rows[i], rows[i + 1], rows[i + 2] != 0};
        const Position before = blocks.empty() ? 0 : blocks.back().end;
        if (block.begin != before || block.end <= block.begin || rows[i + 2] < 0 || rows[i + 2] > 1)
            array.fail("has row " + std::to_string(i / 3) + " = " + std::to_string(rows[i]) + ", " +
                       std::to_string(rows[i + 1]) + ", " + std::to_string(rows[i + 2]) +
                       "; blocks follow each other from 0 and are marked 0 or 1");
        blocks.push_back(block);
    }
    return blocks;
}

std::vector<std::int32_t> read_layer_numbers(const InputGroup& layers) {
    std::vector<std::int32_t> numbers;
    for (const std::string& name : layers.names()) {
        std::int32_t number = -1;
        const char* end = name.data() + name.size();
        const auto read = std::from_chars(name.data(), end, number);
        if (name.size() != 3 || read.ec != std::errc() || read.ptr != end || number < 0)
            layers.fail("holds '" + name.substr(0, 40) + "', expected layers named 000, 001, ...");
        numbers.push_back(number);
    }
    return numbers;
}

/// One int32 array of a layer, every element in [-1, bound).
std::vector<std::int32_t> read_fates(const InputGroup& layer,
                                     const char* name,
                                     std::int64_t kv_heads,
                                     std::int64_t tokens,
                                     std::int64_t bound) {
    const InputArray array = layer.array(name);
    array.expect_type(h5::stored_type(h5::Number::int32));
    array.expect_shape({kv_heads, tokens});
    std::vector<std::int32_t> values = array.numbers<std::int32_t>();
    for (std::size_t i = 0; i < values.size(); ++i)
        if (values[i] < -1 || values[i] >= bound)
            array.fail("has element " + std::to_string(i) + " = " + std::to_string(values[i]) +
                       ", expected -1 to " + std::to_string(bound - 1));
    return values;
}

/// Merged keys or values: finite numbers, one row for each of `rows` entries.
std::vector<float> read_rows(const InputGroup& group, const char* name, std::int64_t rows) {
    const InputArray array = group.array(name);
    array.expect_type(h5::stored_type(ElementType::float32));
    array.expect_rank(2);
    array.expect_shape({rows, array.dimensions()[1]});
    std::vector<float> numbers = array.numbers<float>();
    const auto bad = std::find_if(
        numbers.begin(), numbers.end(), [](float number) { return !std::isfinite(number); });
    if (bad != numbers.end())
        array.fail("has element " + std::to_string(bad - numbers.begin()) +
                   " that is not a finite number");
    return numbers;
}

/// The merged entries of a layer with these fates. An entry is one that its head still holds after
/// its block.
MergedEntries read_merged(const InputGroup& group,
                          std::span<const std::int32_t> evicted_at,
                          std::int64_t kv_heads,
                          const std::vector<Block>& blocks) {
    const InputArray array = group.array(schema::entries);
    array.expect_type(h5::stored_type(h5::Number::int32));
    array.expect_rank(2);
    array.expect_shape({array.dimensions()[0], 3});
    const std::vector<std::int32_t> rows = array.numbers<std::int32_t>();
    const std::size_t tokens = evicted_at.size() / static_cast<std::size_t>(kv_heads);
    MergedEntries merged;
    for (std::size_t i = 0; i < rows.size(); i += 3) {
        const MergedEntries::Entry entry{
            .block = rows[i + 2], .kv_head = rows[i], .position = rows[i + 1]};
        const auto held = [&] {
            const std::int32_t gone = evicted_at[static_cast<std::size_t>(entry.kv_head) * tokens +
                                                 static_cast<std::size_t>(entry.position)];
            return gone < 0 || gone > entry.block;
        };
        const bool inside = entry.kv_head >= 0 && entry.kv_head < kv_heads && entry.block >= 0 &&
                            entry.block < std::ssize(blocks) && entry.position >= 0 &&
                            entry.position < blocks[static_cast<std::size_t>(entry.block)].end;
        const bool rising = merged.entries.empty() || merged.entries.back() < entry;
        if (!inside || !rising || !held())
            array.fail("has row " + std::to_string(i / 3) + " = " + std::to_string(rows[i]) + ", " +
                       std::to_string(rows[i + 1]) + ", " + std::to_string(rows[i + 2]) +
                       "; rows are KV head, position and block of an entry that is held after the "
                       "block, in the order of blocks, heads and positions");
        merged.entries.push_back(entry);
    }
    merged.keys = read_rows(group, schema::keys, std::ssize(merged.entries));
    merged.values = read_rows(group, schema::values, std::ssize(merged.entries));
    if (merged.keys.size() != merged.values.size())
        group.fail("has keys and values of different widths");
    return merged;
}

}  // namespace

DecisionFile::DecisionFile(const InputGroup& root, Unfinished unfinished) {
    read_version(root, schema::decisions_mark);
    const bool complete = read_complete(root, unfinished);
    info_ = read_info(root, complete);
    // A replay over some sequences of a trace leaves gaps between the names.
    for (const std::string& name : sequence_names(root, false)) {
        const InputGroup group = root.group(schema::sequences).group(name);
        if (!complete && !group.has(schema::layers))
            continue;
        Slot slot{.layers_group = group.group(schema::layers),
                  .about = {.name = name,
                            .kept_tokens = group.int64(schema::kept_tokens),
                            .kept_bytes = group.int64(schema::kept_bytes),
                            .full_bytes = group.int64(schema::full_bytes),
                            .blocks = read_blocks(group)},
                  .layers = {}};
        slot.layers = read_layer_numbers(slot.layers_group);
        if (!slot.layers.empty()) {
            const InputGroup first =
                slot.layers_group.group(schema::layer_name(slot.layers.front()));
            const InputArray array = first.array(schema::evicted_at);
            array.expect_rank(2);
            slot.kv_heads = array.dimensions()[0];
            slot.tokens = array.dimensions()[1];
        }
        const Position end = slot.about.blocks.empty() ? 0 : slot.about.blocks.back().end;
        if (!slot.layers.empty() && end != slot.tokens)
            group.fail("has blocks up to token " + std::to_string(end) + ", but arrays of " +
                       std::to_string(slot.tokens) + " tokens");
        sequences_.push_back(std::move(slot));
    }
}

const DecisionFile::Slot& DecisionFile::slot(std::int32_t index) const {
    if (index < 0 || index >= sequences())
        throw internal_error("reading decisions of sequence " + std::to_string(index) + " of " +
                             std::to_string(sequences()));
    return sequences_[static_cast<std::size_t>(index)];
}

const DecisionSequence& DecisionFile::sequence(std::int32_t index) const {
    return slot(index).about;
}

const std::vector<std::int32_t>& DecisionFile::layers(std::int32_t sequence) const {
    return slot(sequence).layers;
}

std::int32_t DecisionFile::kv_heads(std::int32_t sequence) const {
    return static_cast<std::int32_t>(slot(sequence).kv_heads);
}

Position DecisionFile::tokens(std::int32_t sequence) const {
    return static_cast<Position>(slot(sequence).tokens);
}

LayerFate DecisionFile::load(std::int32_t sequence, std::int32_t layer) const {
    const Slot& found = slot(sequence);
    const InputGroup group = found.layers_group.group(schema::layer_name(layer));
    LayerFate fate{.evicted_at = read_fates(group,
                                            schema::evicted_at,
                                            found.kv_heads,
                                            found.tokens,
                                            std::ssize(found.about.blocks)),
                   .merged_into = read_fates(
                       group, schema::merged_into, found.kv_heads, found.tokens, found.tokens),
                   .scores = {}};
    if (group.has(schema::scores)) {
        const InputArray array = group.array(schema::scores);
        array.expect_type(h5::stored_type(ElementType::float32));
        array.expect_shape({found.kv_heads, found.tokens});
        fate.scores = array.numbers<float>();
    }
    if (group.has(schema::merged))
        fate.merged = read_merged(
            group.group(schema::merged), fate.evicted_at, found.kv_heads, found.about.blocks);
    return fate;
}

std::unique_ptr<const DecisionFile> open_decisions(const std::filesystem::path& path,
                                                   Unfinished unfinished) {
    return std::unique_ptr<const DecisionFile>(
        new DecisionFile(InputGroup::root(InputFile::open(path)), unfinished));
}

}  // namespace kvtape
