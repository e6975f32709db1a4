#include "trace/array.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace kvtape {
namespace {

constexpr int most_dimensions = 8;
/// Deflate cannot do better than 1032 to 1.
constexpr std::uint64_t best_compression = 1100;

/// a * b, or the largest number there is.
std::int64_t product(std::int64_t a, std::int64_t b) {
    std::int64_t result = 0;
    return __builtin_mul_overflow(a, b, &result) ? std::numeric_limits<std::int64_t>::max()
                                                 : result;
}

std::vector<std::int64_t> narrowed(std::span<const hsize_t> sizes) {
    std::vector<std::int64_t> result;
    for (const hsize_t size : sizes)
        result.push_back(static_cast<std::int64_t>(
            std::min<hsize_t>(size, std::numeric_limits<std::int64_t>::max())));
    return result;
}

}  // namespace

std::string text_of(std::span<const std::int64_t> dimensions) {
    std::string text;
    for (const std::int64_t size : dimensions) {
        if (!text.empty())
            text += 'x';
        text += std::to_string(size);
    }
    return text.empty() ? "scalar" : text;
}

InputArray InputGroup::array(const std::string& name) const {
    const h5::Lock lock;
    const hid_t object = open_object(name);
    const H5I_type_t type = H5Iget_type(object);
    if (type == H5I_DATASET)
        return {file_, child_path(name), h5::Dataset(object)};
    const h5::Handle<H5Oclose> other(object);
    fail("has " + name + (type == H5I_GROUP ? " as a group" : " as a named type") +
         ", expected a dataset");
}

InputArray::InputArray(std::shared_ptr<const InputFile> file, std::string path, h5::Dataset id)
    : file_(std::move(file)),
      path_(std::move(path)),
      id_(std::move(id)) {
    const h5::Lock lock;
    type_ = h5::Type(h5::check(H5Dget_type(id_.get()), file_->name() + ": looking at " + path_));
    element_bytes_ = H5Tget_size(type_.get());
    if (element_bytes_ == 0 || element_bytes_ > 64 ||
        (H5Tget_class(type_.get()) != H5T_INTEGER && H5Tget_class(type_.get()) != H5T_FLOAT))
        fail("holds " + h5::describe(type_.get()) + ", expected numbers");
    inspect_shape();
    inspect_storage();
    expect_room();
}

void InputArray::fail(const std::string& problem) const {
    throw format_error(file_->name() + ": " + path_ + " " + problem);
}

void InputArray::expect_type(const h5::Type& type) const {
    const h5::Lock lock;
    if (H5Tequal(type_.get(), type.get()) <= 0)
        fail("holds " + h5::describe(type_.get()) + ", expected " + h5::describe(type.get()));
}

void InputArray::expect_shape(std::initializer_list<std::int64_t> dimensions) const {
    if (!std::equal(dimensions_.begin(), dimensions_.end(), dimensions.begin(), dimensions.end()))
        fail("has shape " + text_of(dimensions_) + ", expected " +
             text_of(std::span(dimensions.begin(), dimensions.size())));
}

void InputArray::expect_rank(std::size_t rank) const {
    if (dimensions_.size() != rank)
        fail("has shape " + text_of(dimensions_) + ", expected " + std::to_string(rank) +
             " dimensions");
}

void InputArray::inspect_shape() {
    const h5::Space space(H5Dget_space(id_.get()));
    const int rank = space.valid() ? H5Sget_simple_extent_ndims(space.get()) : -1;
    if (rank < 0 || rank > most_dimensions)
        fail("has a shape that kvtape does not use");
    std::array<hsize_t, most_dimensions> sizes{};
    H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr);
    dimensions_ = narrowed(std::span(sizes).first(static_cast<std::size_t>(rank)));
    elements_ = H5Sget_simple_extent_type(space.get()) == H5S_NULL ? 0 : 1;
    for (const std::int64_t size : dimensions_)
        elements_ = product(elements_, size);
}

void InputArray::inspect_storage() {
    const h5::Properties creation(H5Dget_create_plist(id_.get()));
    h5::check(creation.get(), file_->name() + ": looking at " + path_);
    const H5D_layout_t layout = H5Pget_layout(creation.get());
    if (layout == H5D_VIRTUAL || H5Pget_external_count(creation.get()) != 0)
        fail("keeps its data in other files; kvtape reads one file alone");
    inspect_filters(creation);
    if (elements_ == 0)
        return;
    if (!checksummed_)
        file_->note_unguarded();
    storage_ = Storage::pipeline;
    if (layout != H5D_CHUNKED)
        return;
    std::array<hsize_t, most_dimensions> sizes{};
    const int rank = H5Pget_chunk(creation.get(), most_dimensions, sizes.data());
    if (rank != static_cast<int>(dimensions_.size()))
        fail("has chunks of another rank than itself");
    chunk_ = narrowed(std::span(sizes).first(dimensions_.size()));
    std::int64_t bytes = static_cast<std::int64_t>(element_bytes_);
    for (const std::int64_t size : chunk_)
        bytes = product(bytes, size);
    if (bytes <= 0 || static_cast<std::uint64_t>(bytes) > file_->bytes() * best_compression)
        fail("has chunks larger than the file can hold");
    chunk_bytes_ = static_cast<std::size_t>(bytes);
    if (!compressed_)
        storage_ = Storage::chunks;
}

void InputArray::inspect_filters(const h5::Properties& creation) {
    const int filters = H5Pget_nfilters(creation.get());
    for (int index = 0; index < filters; ++index) {
        unsigned flags = 0;
        std::size_t values = 0;
        unsigned config = 0;
        const H5Z_filter_t filter = H5Pget_filter2(creation.get(),
                                                   static_cast<unsigned>(index),
                                                   &flags,
                                                   &values,
                                                   nullptr,
                                                   0,
                                                   nullptr,
                                                   &config);
        if (filter == H5Z_FILTER_FLETCHER32 && index == filters - 1)
            checksummed_ = true;
        else if (filter == H5Z_FILTER_SHUFFLE || filter == H5Z_FILTER_DEFLATE)
            compressed_ = true;
        else
            fail("uses HDF5 filter " + std::to_string(filter) +
                 "; kvtape reads shuffle, deflate and, last, fletcher32");
    }
}

void InputArray::expect_room() const {
    if (storage_ == Storage::nothing)
        return;
    std::int64_t chunks = 1;
    for (std::size_t axis = 0; axis < chunk_.size(); ++axis)
        chunks = product(chunks, (dimensions_[axis] - 1) / chunk_[axis] + 1);
    const std::int64_t bytes = chunk_.empty()
                                   ? product(elements_, static_cast<std::int64_t>(element_bytes_))
                                   : product(chunks, static_cast<std::int64_t>(chunk_bytes_));
    const std::uint64_t most = file_->bytes() * (compressed_ ? best_compression : 1);
    if (static_cast<std::uint64_t>(bytes) > most)
        fail("has shape " + text_of(dimensions_) + ", more than a file of " +
             std::to_string(file_->bytes()) + " bytes can hold");
    if (H5Dget_storage_size(id_.get()) == 0)
        fail("was never written");
}

}  // namespace kvtape
