#pragma once

#include "trace/input.hpp"

#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// `31x128`; `scalar` for no dimensions.
std::string text_of(std::span<const std::int64_t> dimensions);

/// A dataset of an input file. Reading verifies the checksum of every chunk. Refuses external and
/// virtual storage, filters other than shuffle, deflate and fletcher32, and sizes that the file
/// cannot hold, before anything is allocated.
class InputArray {
  public:
    const std::vector<std::int64_t>& dimensions() const { return dimensions_; }
    std::int64_t elements() const { return elements_; }
    std::size_t element_bytes() const { return element_bytes_; }
    bool checksummed() const { return checksummed_; }
    const std::string& path() const { return path_; }

    /// Format errors that name file, dataset, what was found and what was expected.
    void expect_type(const h5::Type& type) const;
    void expect_shape(std::initializer_list<std::int64_t> dimensions) const;
    void expect_rank(std::size_t rank) const;
    [[noreturn]] void fail(const std::string& problem) const;

    /// Receives stored bytes of elements that follow each other, and the index of the first.
    using Sink = std::function<void(std::size_t element, std::span<const std::byte> bytes)>;
    /// Hands over every element once, chunk by chunk. Up to `threads` chunks are read at a time,
    /// and then handed over in any order and from several threads.
    void read(const Sink& sink, int threads = 1) const;
    /// The same in ascending order of elements. Holds one chunk where chunks lie in that order, as
    /// ours do, and the whole dataset otherwise.
    void read_in_order(const Sink& sink) const;
    /// All of it, as stored.
    std::vector<std::byte> bytes() const;
    template <typename Number>
    std::vector<Number> numbers() const;

  private:
    friend class InputGroup;
    struct Chunk {
        std::uint64_t address = 0;
        std::vector<std::int64_t> origin;
    };
    enum class Storage { nothing, chunks, pipeline };

    InputArray(std::shared_ptr<const InputFile> file, std::string path, h5::Dataset id);
    void inspect_shape();
    void inspect_storage();
    void inspect_filters(const h5::Properties& creation);
    void expect_room() const;
    std::vector<Chunk> chunk_table() const;
    void verify(std::span<const std::byte> stored, const Chunk& chunk) const;
    void hand_over(const Chunk& chunk, std::span<const std::byte> data, const Sink& sink) const;
    void read_chunks(const Sink& sink, int threads) const;
    void read_pipeline(const Sink& sink) const;
    bool in_order() const;
    std::size_t total_bytes() const { return static_cast<std::size_t>(elements_) * element_bytes_; }

    std::shared_ptr<const InputFile> file_;
    std::string path_;
    h5::Dataset id_;
    h5::Type type_;
    std::vector<std::int64_t> dimensions_;
    std::vector<std::int64_t> chunk_;  ///< chunk shape; empty when not chunked
    std::int64_t elements_ = 0;
    std::size_t element_bytes_ = 0;
    std::size_t chunk_bytes_ = 0;
    Storage storage_ = Storage::nothing;
    bool checksummed_ = false;
    bool compressed_ = false;
};

template <typename Number>
std::vector<Number> InputArray::numbers() const {
    if (sizeof(Number) != element_bytes_)
        fail("has elements of " + std::to_string(element_bytes_) + " bytes, expected " +
             std::to_string(sizeof(Number)));
    std::vector<Number> all(static_cast<std::size_t>(elements_));
    const std::span<std::byte> room = std::as_writable_bytes(std::span(all));
    read([&](std::size_t element, std::span<const std::byte> bytes) {
        std::copy(bytes.begin(),
                  bytes.end(),
                  room.begin() + static_cast<std::ptrdiff_t>(element * sizeof(Number)));
    });
    return all;
}

}  // namespace kvtape
