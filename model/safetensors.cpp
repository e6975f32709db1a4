#include "model/safetensors.hpp"

#include "model/fields.hpp"
#include "model/files.hpp"
#include "model/shard_index.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

namespace kvtape::model {
namespace {

constexpr std::uint64_t longest_header = 100'000'000;
constexpr std::size_t longest_index = std::size_t{1} << 28;

constexpr std::array<std::pair<std::string_view, std::uint64_t>, 15> known_types{{{"BOOL", 1},
                                                                                  {"U8", 1},
                                                                                  {"I8", 1},
                                                                                  {"F8_E5M2", 1},
                                                                                  {"F8_E4M3", 1},
                                                                                  {"I16", 2},
                                                                                  {"U16", 2},
                                                                                  {"F16", 2},
                                                                                  {"BF16", 2},
                                                                                  {"I32", 4},
                                                                                  {"U32", 4},
                                                                                  {"F32", 4},
                                                                                  {"F64", 8},
                                                                                  {"I64", 8},
                                                                                  {"U64", 8}}};

std::uint64_t header_length(std::span<const std::byte> file, const std::string& what) {
    std::uint64_t length = 0;
    refuse_pointer({reinterpret_cast<const char*>(file.data()), file.size()}, what);
    if (file.size() < sizeof length + 2)
        throw format_error("reading " + what + ": it has " + std::to_string(file.size()) +
                           " bytes, too few for a safetensors header");
    static_assert(std::endian::native == std::endian::little);
    std::memcpy(&length, file.data(), sizeof length);
    const std::uint64_t most = std::min<std::uint64_t>(longest_header, file.size() - sizeof length);
    if (length < 2 || length > most)
        throw format_error("reading " + what + ": the header claims " + std::to_string(length) +
                           " bytes, expected 2 to " + std::to_string(most) +
                           "; the file is damaged or not safetensors");
    return length;
}

std::uint64_t size_of_type(const Fields& entry) {
    const std::string name = entry.text("dtype");
    const auto* found = std::find_if(known_types.begin(), known_types.end(), [&](const auto& type) {
        return type.first == name;
    });
    if (found == known_types.end())
        entry.refuse("dtype", "is " + Fields::shown(Json(name)) + ", which kvtape does not know");
    return found->second;
}

/// The offsets or the extents of an entry: an array of non-negative integers.
std::vector<std::int64_t> integers(const Fields& entry, const char* name) {
    const Json* field = entry.find(name);
    if (field == nullptr || !field->is_array())
        entry.refuse(name, "must be an array of integers");
    std::vector<std::int64_t> values;
    for (const Json& value : *field) {
        if (!value.is_number_unsigned() ||
            value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max())
            entry.refuse(name, "has " + Fields::shown(value) + ", expected an integer from 0");
        values.push_back(value.get<std::int64_t>());
    }
    return values;
}

/// product(shape) * size, or nothing when that does not fit 63 bits.
std::optional<std::int64_t> bytes_needed(const std::vector<std::int64_t>& shape,
                                         std::uint64_t size) {
    auto product = static_cast<std::int64_t>(size);
    for (const std::int64_t extent : shape)
        if (__builtin_mul_overflow(product, extent, &product))
            return {};
    return product;
}

StoredTensor read_entry(const Fields& entry, std::span<const std::byte> data) {
    const std::uint64_t size = size_of_type(entry);
    const std::vector<std::int64_t> shape = integers(entry, "shape");
    const std::vector<std::int64_t> offsets = integers(entry, "data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > std::ssize(data))
        entry.refuse("data_offsets",
                     "must be a begin and an end within the " + std::to_string(data.size()) +
                         " bytes of data");
    const std::int64_t bytes = offsets[1] - offsets[0];
    if (bytes_needed(shape, size) != bytes)
        entry.refuse(
            "data_offsets",
            "span " + std::to_string(bytes) + " bytes, which is not the size of its shape");
    const auto begin = static_cast<std::size_t>(offsets[0]);
    return {entry.text("dtype"), shape, data.subspan(begin, static_cast<std::size_t>(bytes))};
}

void check_coverage(const StoredTensors& tensors,
                    std::span<const std::byte> data,
                    const std::string& what) {
    std::vector<std::pair<const std::byte*, const std::byte*>> ranges;
    for (const auto& [name, tensor] : tensors)
        ranges.emplace_back(tensor.bytes.data(), tensor.bytes.data() + tensor.bytes.size());
    std::sort(ranges.begin(), ranges.end());
    const std::byte* covered = data.data();
    for (const auto& [begin, end] : ranges) {
        if (begin != covered)
            throw format_error("reading " + what + ": its tensors " +
                               (begin < covered ? "overlap" : "leave a hole") + " at data byte " +
                               std::to_string(begin - data.data()));
        covered = end;
    }
    if (covered != data.data() + data.size())
        throw format_error("reading " + what + ": its tensors end at data byte " +
                           std::to_string(covered - data.data()) + " of " +
                           std::to_string(data.size()));
}

/// The data of a file and its tensors, which may overlap or leave holes.
struct Listed {
    std::span<const std::byte> data;
    StoredTensors tensors;
};

Listed list_tensors(std::span<const std::byte> file, const std::string& what) {
    const std::uint64_t length = header_length(file, what);
    const std::string_view header(reinterpret_cast<const char*>(file.data()) + sizeof length,
                                  length);
    if (header.front() != '{')
        throw format_error("reading " + what + ": its header does not begin with '{'");
    const Json parsed = parse_json(header, what + ", header");
    Listed listed{.data = file.subspan(sizeof length + length), .tensors = {}};
    for (const auto& [name, entry] : parsed.items())
        if (name != "__metadata__")
            listed.tensors.emplace(
                name,
                read_entry(Fields(entry, what + ", tensor " + Fields::shown(Json(name))),
                           listed.data));
    return listed;
}

/// A folder from before safetensors.
void refuse_pickled(const std::filesystem::path& directory) {
    for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
        if (!std::filesystem::exists(directory / "model.safetensors") &&
            std::filesystem::exists(directory / name))
            throw format_error("reading " + directory.string() + ": it has " + name +
                               " and no model.safetensors, which kvtape reads; convert it (load it "
                               "with transformers and save it with save_pretrained)");
}

}  // namespace

StoredTensors parse_safetensors(std::span<const std::byte> file, std::string_view what) {
    const std::string where(what);
    Listed listed = list_tensors(file, where);
    check_coverage(listed.tensors, listed.data, where);
    return std::move(listed.tensors);
}

Checkpoint Checkpoint::open(const std::filesystem::path& directory) {
    Checkpoint checkpoint;
    const std::filesystem::path single = directory / "model.safetensors";
    const std::filesystem::path index = directory / "model.safetensors.index.json";
    if (std::filesystem::exists(single) || !std::filesystem::exists(index)) {
        refuse_pickled(directory);
        checkpoint.what_ = single.string();
        checkpoint.files_.push_back({MappedFile(single), checkpoint.what_});
        checkpoint.tensors_ =
            list_tensors(checkpoint.files_.front().content.bytes(), checkpoint.what_).tensors;
        return checkpoint;
    }
    checkpoint.what_ = index.string();
    const ShardIndex files = parse_shard_index(read_text(index, longest_index), checkpoint.what_);
    std::map<std::string, StoredTensors> shards;
    for (const auto& [name, file] : files) {
        const std::filesystem::path path = directory / file;
        const auto [shard, fresh] = shards.try_emplace(path.string());
        if (fresh) {
            checkpoint.files_.push_back({MappedFile(path), path.string()});
            shard->second =
                list_tensors(checkpoint.files_.back().content.bytes(), path.string()).tensors;
        }
        const auto found = shard->second.find(name);
        if (found == shard->second.end())
            throw format_error("reading " + path.string() + ": it lacks the tensor " +
                               Fields::shown(Json(name)) + " that the index promises");
        checkpoint.tensors_.insert(*found);
    }
    return checkpoint;
}

void Checkpoint::expect_covered() const {
    for (const File& file : files_)
        parse_safetensors(file.content.bytes(), file.name);
}

std::vector<std::string> Checkpoint::names() const {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors_)
        names.push_back(name);
    return names;
}

void Checkpoint::refuse_missing(std::string_view name) const {
    const auto has_part = [&](std::string_view part) {
        return std::any_of(tensors_.begin(), tensors_.end(), [&](const auto& tensor) {
            return tensor.first.find(part) != std::string::npos;
        });
    };
    constexpr std::string_view prefix = "model.";
    std::string remedy = "download the checkpoint again";
    if (has_part(".qweight"))
        remedy = "it holds quantised weights (qweight); kvtape reads float32, float16 and bfloat16";
    else if (has_part("lora_"))
        remedy = "it holds an adapter (lora_); merge it into the model's weights";
    else if (name.starts_with(prefix) && has(name.substr(prefix.size())))
        remedy = "it has " + std::string(name.substr(prefix.size())) +
                 ", as a model without a head is saved; save it as a causal language model";
    throw format_error("reading " + what_ + ": the tensor " + std::string(name) + " is missing; " +
                       remedy);
}

Checkpoint::Tensor Checkpoint::tensor(std::string_view name,
                                      std::initializer_list<std::int64_t> shape) const {
    const std::string where = "reading " + what_ + ": the tensor " + std::string(name);
    const auto found = tensors_.find(name);
    if (found == tensors_.end())
        refuse_missing(name);
    const StoredTensor& stored = found->second;
    const std::vector<std::int64_t> expected(shape);
    if (stored.shape != expected)
        throw format_error(where + " has shape " + to_text(Json(stored.shape)) + ", expected " +
                           to_text(Json(expected)));
    Tensor tensor{.bytes = stored.bytes};
    if (stored.type == "F16")
        tensor.type = ElementType::float16;
    else if (stored.type == "BF16")
        tensor.type = ElementType::bfloat16;
    else if (stored.type != "F32")
        throw format_error(where + " has type " + stored.type + ", expected F32, F16 or BF16");
    if (reinterpret_cast<std::uintptr_t>(stored.bytes.data()) %
            static_cast<std::uintptr_t>(bytes_of(tensor.type)) !=
        0)
        throw format_error(where +
                           " does not begin at a multiple of its element size; save the "
                           "checkpoint again");
    return tensor;
}

}  // namespace kvtape::model
