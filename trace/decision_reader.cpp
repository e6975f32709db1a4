#include "core/error.hpp"
#include "core/half.hpp"
#include "core/json.hpp"
#include "trace/array.hpp"
#include "trace/decisions.hpp"
#include "trace/root.hpp"
#include "trace/schema.hpp"

#include <algorithm>
#include <charconv>

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
    return fate;
}

std::unique_ptr<const DecisionFile> open_decisions(const std::filesystem::path& path,
                                                   Unfinished unfinished) {
    return std::unique_ptr<const DecisionFile>(
        new DecisionFile(InputGroup::root(InputFile::open(path)), unfinished));
}

}  // namespace kvtape
