#include "core/error.hpp"
#include "core/parallel.hpp"
#include "trace/array.hpp"
#include "trace/fletcher.hpp"

#include <algorithm>
#include <cstring>

namespace kvtape {
namespace {

constexpr std::size_t checksum_bytes = 4;

/// Steps `position` to the next chunk in row-major order; false after the last one.
bool advance(std::vector<std::int64_t>& position,
             const std::vector<std::int64_t>& step,
             const std::vector<std::int64_t>& end) {
    for (std::size_t axis = position.size(); axis-- > 0;) {
        position[axis] += step[axis];
        if (position[axis] < end[axis])
            return true;
        position[axis] = 0;
    }
    return false;
}

}  // namespace

std::vector<InputArray::Chunk> InputArray::chunk_table() const {
    const h5::Lock lock;
    std::vector<Chunk> table;
    std::vector<std::int64_t> origin(dimensions_.size(), 0);
    std::vector<hsize_t> corner(dimensions_.size());
    const std::size_t expected = chunk_bytes_ + (checksummed_ ? checksum_bytes : 0);
    do {
        std::copy(origin.begin(), origin.end(), corner.begin());
        unsigned skipped = 0;
        haddr_t address = HADDR_UNDEF;
        hsize_t bytes = 0;
        h5::check(H5Dget_chunk_info_by_coord(id_.get(), corner.data(), &skipped, &address, &bytes),
                  file_->name() + ": finding a chunk of " + path_);
        if (address == HADDR_UNDEF)
            fail("was not written to its end: the chunk at " + text_of(origin) + " is missing");
        if (bytes != expected || skipped != 0)
            fail("has a chunk of " + std::to_string(bytes) + " bytes at " + text_of(origin) +
                 ", expected " + std::to_string(expected));
        table.push_back({address, origin});
    } while (advance(origin, chunk_, dimensions_));
    return table;
}

void InputArray::verify(std::span<const std::byte> stored, const Chunk& chunk) const {
    std::uint32_t expected = 0;
    std::memcpy(&expected, stored.data() + chunk_bytes_, checksum_bytes);
    if (fletcher32(stored.first(chunk_bytes_)) != expected)
        fail("is damaged: the checksum of its chunk at " + text_of(chunk.origin) +
             " does not match");
}

void InputArray::hand_over(const Chunk& chunk,
                           std::span<const std::byte> data,
                           const Sink& sink) const {
    // A run is what stays together in the chunk and in the dataset: one row, grown by every axis
    // the chunk covers whole.
    std::vector<std::int64_t> inside(dimensions_.size());
    for (std::size_t axis = 0; axis < inside.size(); ++axis)
        inside[axis] = std::min(chunk_[axis], dimensions_[axis] - chunk.origin[axis]);
    std::vector<std::int64_t> step(dimensions_.size(), 1);
    std::size_t split = dimensions_.size() - 1;
    std::int64_t run = inside[split];
    while (split > 0 && chunk_[split] == dimensions_[split])
        run *= inside[--split];
    for (std::size_t axis = split; axis < step.size(); ++axis)
        step[axis] = inside[axis];
    std::vector<std::int64_t> position(dimensions_.size(), 0);
    do {
        std::int64_t from = 0;
        std::int64_t to = 0;
        for (std::size_t axis = 0; axis < position.size(); ++axis) {
            from = from * chunk_[axis] + position[axis];
            to = to * dimensions_[axis] + chunk.origin[axis] + position[axis];
        }
        sink(static_cast<std::size_t>(to),
             data.subspan(static_cast<std::size_t>(from) * element_bytes_,
                          static_cast<std::size_t>(run) * element_bytes_));
    } while (advance(position, step, inside));
}

void InputArray::read_chunks(const Sink& sink, int threads) const {
    // HDF5 says where the chunks lie; the bytes are read beside it, outside its lock.
    const std::vector<Chunk> table = chunk_table();
    const std::size_t bytes = chunk_bytes_ + (checksummed_ ? checksum_bytes : 0);
    // Each part reads its chunks through one buffer.
    const std::size_t parts =
        std::min(table.size(), static_cast<std::size_t>(std::max(1, threads)));
    parallel_for(parts, threads, [&](std::size_t part) {
        std::vector<std::byte> stored(bytes);
        for (std::size_t i = table.size() * part / parts; i < table.size() * (part + 1) / parts;
             ++i) {
            if (!file_->read_at(table[i].address, stored))
                fail("is cut off: its chunk at " + text_of(table[i].origin) +
                     " lies behind the end of the file");
            if (checksummed_)
                verify(stored, table[i]);
            hand_over(table[i], std::span(stored).first(chunk_bytes_), sink);
        }
    });
}

void InputArray::read_pipeline(const Sink& sink) const {
    const h5::Lock lock;
    std::vector<std::byte> all(total_bytes());
    // The memory type is the stored type: HDF5 never converts.
    h5::check(H5Dread(id_.get(), type_.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, all.data()),
              file_->name() + ": reading " + path_);
    sink(0, all);
}

void InputArray::read(const Sink& sink, int threads) const {
    if (storage_ == Storage::chunks)
        read_chunks(sink, threads);
    else if (storage_ == Storage::pipeline)
        read_pipeline(sink);
}

bool InputArray::in_order() const {
    if (storage_ != Storage::chunks)
        return true;
    std::size_t axis = 0;
    while (axis < chunk_.size() && chunk_[axis] == 1)
        ++axis;
    return axis == chunk_.size() ||
           std::equal(chunk_.begin() + static_cast<std::ptrdiff_t>(axis) + 1,
                      chunk_.end(),
                      dimensions_.begin() + static_cast<std::ptrdiff_t>(axis) + 1,
                      dimensions_.end());
}

void InputArray::read_in_order(const Sink& sink) const {
    if (in_order())
        return read(sink);
    sink(0, bytes());
}

std::vector<std::byte> InputArray::bytes() const {
    std::vector<std::byte> all(total_bytes());
    read([&](std::size_t element, std::span<const std::byte> bytes) {
        std::memcpy(all.data() + element * element_bytes_, bytes.data(), bytes.size());
    });
    return all;
}

}  // namespace kvtape
