#include "core/half.hpp"
#include "trace/fletcher.hpp"
#include "trace/output.hpp"

#include <algorithm>
#include <cstring>

namespace kvtape {
namespace {

constexpr std::int64_t rows_per_chunk = 512;
constexpr std::int64_t columns_per_chunk = 65536;

hid_t check(hid_t id, const std::string& doing) {
    return h5::check(id, doing, ErrorKind::io);
}

std::vector<hsize_t> widened(const std::vector<std::int64_t>& sizes) {
    return {sizes.begin(), sizes.end()};
}

/// A chunk is always a run of elements that follow each other in the dataset.
std::vector<std::int64_t> chunk_of(const std::vector<std::int64_t>& dimensions, Chunking chunking) {
    std::vector<std::int64_t> chunk = dimensions;
    if (dimensions.size() < 2)
        return chunk;
    if (chunking == Chunking::rows) {
        chunk[0] = std::min(chunk[0], columns_per_chunk);
        return chunk;
    }
    chunk[0] = 1;
    chunk[1] = std::min(chunk[1], dimensions.size() == 2 ? columns_per_chunk : rows_per_chunk);
    return chunk;
}

std::size_t product(std::span<const std::int64_t> sizes) {
    std::size_t result = 1;
    for (const std::int64_t size : sizes)
        result *= static_cast<std::size_t>(size);
    return result;
}

/// Visits the chunks of a dataset in the order of their elements.
class ChunkWalk {
  public:
    ChunkWalk(const std::vector<std::int64_t>& dimensions, const std::vector<std::int64_t>& chunk)
        : dimensions_(widened(dimensions)),
          corner_(dimensions.size(), 0),
          axis_(dimensions.size() > 1 && chunk[0] == 1 ? 1 : 0),
          rows_(static_cast<hsize_t>(chunk[axis_])),
          row_elements_(product(std::span(dimensions).subspan(axis_ + 1))) {}

    const std::vector<hsize_t>& corner() const { return corner_; }
    /// Index of the first element.
    std::size_t element() const { return element_; }
    /// Elements without the padding of a chunk at the edge.
    std::size_t count() const {
        return std::min(dimensions_[axis_] - corner_[axis_], rows_) * row_elements_;
    }
    /// False behind the last chunk.
    bool advance() {
        element_ += count();
        corner_[axis_] += rows_;
        if (corner_[axis_] >= dimensions_[axis_] && axis_ == 1) {
            corner_[1] = 0;
            ++corner_[0];
        }
        return corner_[0] < dimensions_[0];
    }

  private:
    std::vector<hsize_t> dimensions_;
    std::vector<hsize_t> corner_;
    std::size_t axis_;  ///< along which chunks follow each other inside one index of the first axis
    hsize_t rows_;
    std::size_t row_elements_;
    std::size_t element_ = 0;
};

h5::Properties array_creation(const std::vector<std::int64_t>& chunk, const std::string& doing) {
    h5::Properties creation = h5::creation_of(H5P_DATASET_CREATE);
    check(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), doing);
    if (product(chunk) == 0)
        return creation;
    const std::vector<hsize_t> sizes = widened(chunk);
    check(H5Pset_chunk(creation.get(), static_cast<int>(sizes.size()), sizes.data()), doing);
    check(H5Pset_fletcher32(creation.get()), doing);
    return creation;
}

}  // namespace

std::string OutputGroup::doing(const char* name) const {
    return "writing " + file_ + ": " + path_ + (path_ == "/" ? "" : "/") + name;
}

OutputGroup OutputGroup::group(const std::string& name) const {
    const h5::Lock lock;
    const h5::Properties creation = h5::creation_of(H5P_GROUP_CREATE);
    const bool there = H5Lexists(id_.get(), name.c_str(), H5P_DEFAULT) > 0;
    h5::Group id(
        check(there ? H5Gopen2(id_.get(), name.c_str(), H5P_DEFAULT)
                    : H5Gcreate2(id_.get(), name.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
              doing(name.c_str())));
    return {file_, (path_ == "/" ? "" : path_) + "/" + name, std::move(id)};
}

void OutputGroup::attribute(const char* name, const h5::Type& type, const void* value) const {
    const h5::Lock lock;
    const h5::Space space(check(H5Screate(H5S_SCALAR), doing(name)));
    const h5::Attribute attribute(
        check(H5Acreate2(id_.get(), name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
              doing(name)));
    check(H5Awrite(attribute.get(), type.get(), value), doing(name));
}

void OutputGroup::replace(const char* name, const h5::Type& type, const void* value) const {
    const h5::Lock lock;
    const h5::Attribute attribute(check(H5Aopen(id_.get(), name, H5P_DEFAULT), doing(name)));
    check(H5Awrite(attribute.get(), type.get(), value), doing(name));
}

void OutputGroup::text(const char* name, std::string value) const {
    for (std::size_t at = value.find('\0'); at != std::string::npos; at = value.find('\0', at))
        value.replace(at, 1, "\xef\xbf\xbd");
    attribute(name, h5::text_type(value.size()), value.c_str());
}
void OutputGroup::uint8(const char* name, std::uint8_t value) const {
    attribute(name, h5::stored_type(h5::Number::uint8), &value);
}
void OutputGroup::int8(const char* name, std::int8_t value) const {
    attribute(name, h5::stored_type(h5::Number::int8), &value);
}
void OutputGroup::int32(const char* name, std::int32_t value) const {
    attribute(name, h5::stored_type(h5::Number::int32), &value);
}
void OutputGroup::int64(const char* name, std::int64_t value) const {
    attribute(name, h5::stored_type(h5::Number::int64), &value);
}
void OutputGroup::uint64(const char* name, std::uint64_t value) const {
    attribute(name, h5::stored_type(h5::Number::uint64), &value);
}
void OutputGroup::float64(const char* name, double value) const {
    attribute(name, h5::stored_type(h5::Number::float64), &value);
}
void OutputGroup::replace_text(const char* name, const std::string& value) const {
    replace(name, h5::text_type(value.size()), value.c_str());
}
void OutputGroup::replace_uint8(const char* name, std::uint8_t value) const {
    replace(name, h5::stored_type(h5::Number::uint8), &value);
}

void OutputGroup::array(const char* name,
                        const h5::Type& type,
                        const std::vector<std::int64_t>& dimensions,
                        Chunking chunking,
                        const Fill& fill) const {
    const std::string what = doing(name);
    const std::vector<std::int64_t> chunk = chunk_of(dimensions, chunking);
    h5::Dataset dataset;
    std::size_t element_bytes = 0;
    {
        const h5::Lock lock;
        const std::vector<hsize_t> sizes = widened(dimensions);
        const h5::Space space(
            check(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), what));
        const h5::Properties creation = array_creation(chunk, what);
        dataset = h5::Dataset(check(
            H5Dcreate2(
                id_.get(), name, type.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
            what));
        element_bytes = H5Tget_size(type.get());
    }
    if (product(dimensions) == 0)
        return;
    // Chunks go in whole, padding zeroed and checksum appended here: the file then holds no byte
    // that HDF5 left to chance, and encoding happens outside its lock.
    std::vector<std::byte> stored(product(chunk) * element_bytes + sizeof(std::uint32_t));
    const std::span<std::byte> data =
        std::span(stored).first(stored.size() - sizeof(std::uint32_t));
    ChunkWalk walk(dimensions, chunk);
    do {
        const std::span<std::byte> used = data.first(walk.count() * element_bytes);
        fill(walk.element(), used);
        std::fill(data.begin() + std::ssize(used), data.end(), std::byte{0});
        const std::uint32_t checksum = fletcher32(data);
        std::memcpy(stored.data() + data.size(), &checksum, sizeof checksum);
        const h5::Lock lock;
        check(
            H5Dwrite_chunk(
                dataset.get(), H5P_DEFAULT, 0, walk.corner().data(), stored.size(), stored.data()),
            what);
    } while (walk.advance());
}

void OutputGroup::floats(const char* name,
                         ElementType type,
                         const std::vector<std::int64_t>& dimensions,
                         Chunking chunking,
                         std::span<const float> values) const {
    if (values.size() != product(dimensions))
        throw internal_error(doing(name) + ": " + std::to_string(values.size()) +
                             " values, expected " + std::to_string(product(dimensions)));
    const auto bytes = static_cast<std::size_t>(bytes_of(type));
    array(name,
          h5::stored_type(type),
          dimensions,
          chunking,
          [&](std::size_t element, std::span<std::byte> out) {
              encode(type, values.subspan(element, out.size() / bytes), out);
          });
}

}  // namespace kvtape
