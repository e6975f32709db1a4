#pragma once

#include "trace/h5.hpp"
#include "trace/partial_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// What to do when the file to be written is already there.
enum class Existing { refuse, replace };

/// How a dataset of two or three dimensions is cut into chunks.
enum class Chunking {
    heads,  ///< `[1, 512, n]`, or `[1, 65536]` with two dimensions: the first axis is heads
    rows,   ///< all columns of up to 65536 rows
};

/// A group of a file that is being written.
class OutputGroup {
  public:
    OutputGroup(std::string file, std::string path, h5::Group id)
        : file_(std::move(file)),
          path_(std::move(path)),
          id_(std::move(id)) {}

    /// Created unless it is there.
    OutputGroup group(const std::string& name) const;

    /// Zero bytes, which a string of the format cannot hold, become U+FFFD.
    void text(const char* name, std::string value) const;
    void uint8(const char* name, std::uint8_t value) const;
    void int8(const char* name, std::int8_t value) const;
    void int32(const char* name, std::int32_t value) const;
    void int64(const char* name, std::int64_t value) const;
    void uint64(const char* name, std::uint64_t value) const;
    void float64(const char* name, double value) const;
    /// Replaces the value of an attribute that is there, with the same type and length.
    void replace_text(const char* name, const std::string& value) const;
    void replace_uint8(const char* name, std::uint8_t value) const;

    /// Writes stored elements from index `element` on into the bytes it is given.
    using Fill = std::function<void(std::size_t element, std::span<std::byte> bytes)>;
    /// Creates a dataset and fills it chunk by chunk, each with its checksum.
    void array(const char* name,
               const h5::Type& type,
               const std::vector<std::int64_t>& dimensions,
               Chunking chunking,
               const Fill& fill) const;
    template <typename Number>
    void array(const char* name,
               const h5::Type& type,
               const std::vector<std::int64_t>& dimensions,
               Chunking chunking,
               std::span<const Number> values) const;
    void floats(const char* name,
                ElementType type,
                const std::vector<std::int64_t>& dimensions,
                Chunking chunking,
                std::span<const float> values) const;

  private:
    std::string doing(const char* name) const;
    void attribute(const char* name, const h5::Type& type, const void* value) const;
    void replace(const char* name, const h5::Type& type, const void* value) const;

    std::string file_;
    std::string path_;
    h5::Group id_;
};

template <typename Number>
void OutputGroup::array(const char* name,
                        const h5::Type& type,
                        const std::vector<std::int64_t>& dimensions,
                        Chunking chunking,
                        std::span<const Number> values) const {
    const std::span<const std::byte> bytes = std::as_bytes(values);
    array(name, type, dimensions, chunking, [&](std::size_t element, std::span<std::byte> out) {
        const auto part = bytes.subspan(element * sizeof(Number), out.size());
        std::copy(part.begin(), part.end(), out.begin());
    });
}

/// A file of ours in the making. It lies at `<path>.partial` with `complete = 0` until `finish()`;
/// without it, that is what stays, or nothing where `unended` says so. Errors are io errors that
/// name the file and the reason.
class OutputFile {
  public:
    /// Creates the file (over an old `.partial`) and writes the attributes every file has.
    /// A target that exists is a usage error unless `existing` says `replace`.
    OutputFile(std::filesystem::path path,
               Existing existing,
               const char* mark,
               const std::string& producer,
               Unended unended);

    const OutputGroup& root() const { return root_; }
    /// Makes everything written so far survive a kill, and gives back what HDF5 holds of it, so
    /// that memory does not grow with the file. Groups other than the root are invalid afterwards.
    void settle();
    /// Computes the fingerprint by reading the file back, marks it complete, forces it to the disk
    /// and gives it its name. Returns the fingerprint. Nothing can be written afterwards.
    std::string finish();

  private:
    void refuse_existing() const;
    void close();
    void open_again();
    void mark_complete(const std::string& fingerprint);
    void publish();

    std::filesystem::path path_;
    Existing existing_;
    PartialFile partial_;
    h5::File id_;
    OutputGroup root_;
};

}  // namespace kvtape
