#pragma once

#include "trace/h5.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// An HDF5 file open for reading, together with its raw bytes. Opening refuses what is not HDF5,
/// and user blocks. Shared and immutable; any thread may read.
class InputFile {
  public:
    static std::shared_ptr<const InputFile> open(const std::filesystem::path& path);
    /// A file that lies in memory; the bytes are copied. `name` stands for it in messages.
    static std::shared_ptr<const InputFile> of_image(std::span<const std::byte> image,
                                                     std::string name);
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;
    ~InputFile();

    const std::string& name() const { return name_; }
    hid_t id() const { return id_.get(); }
    std::uint64_t bytes() const { return bytes_; }
    /// Fills `out` from `offset`. False when the file ends earlier; an io error when the system
    /// refuses. Takes no lock.
    bool read_at(std::uint64_t offset, std::span<std::byte> out) const;

    /// Whether something that was opened so far lies outside of every checksum: an object with a
    /// header of the oldest HDF5 format, or numbers without fletcher32. kvtape writes neither.
    bool unguarded() const { return unguarded_; }
    void note_unguarded() const { unguarded_ = true; }
    /// Notes the header of an open object.
    void note_header(hid_t object) const;

  private:
    explicit InputFile(std::string name) : name_(std::move(name)) {}
    void open_with(const h5::Properties& access);

    std::string name_;
    h5::File id_;
    int descriptor_ = -1;
    std::vector<std::byte> image_;
    std::uint64_t bytes_ = 0;
    mutable std::atomic<bool> unguarded_ = false;
};

class InputArray;

/// A group of an input file. Every failure is a format error that names the file and the object.
/// Soft and external links are refused wherever they turn up.
class InputGroup {
  public:
    static InputGroup root(std::shared_ptr<const InputFile> file);

    /// `/sequences/0000`; the root is `/`.
    const std::string& path() const { return path_; }
    const InputFile& file() const { return *file_; }
    /// The path of what `name` is or would be here.
    std::string child_path(const std::string& name) const;
    /// A format error about this group: `<file>: <path> <problem>`.
    [[noreturn]] void fail(const std::string& problem) const;

    bool has(const std::string& name) const;
    bool has_attribute(const std::string& name) const;
    /// In ascending byte order.
    std::vector<std::string> names() const;
    std::vector<std::string> attribute_names() const;
    bool is_group(const std::string& name) const;
    /// An address that is the same for the same group.
    std::uint64_t address() const;

    InputGroup group(const std::string& name) const;
    InputArray array(const std::string& name) const;

    std::string text(const std::string& name) const;
    std::int32_t int32(const std::string& name) const;
    std::int64_t int64(const std::string& name) const;
    std::uint64_t uint64(const std::string& name) const;
    std::uint8_t uint8(const std::string& name) const;
    std::int8_t int8(const std::string& name) const;
    double float64(const std::string& name) const;
    /// The bytes the fingerprint sees: a string without its terminator, or the stored bytes.
    std::string raw_attribute(const std::string& name) const;

  private:
    InputGroup(std::shared_ptr<const InputFile> file, std::string path, h5::Group id)
        : file_(std::move(file)),
          path_(std::move(path)),
          id_(std::move(id)) {}
    void expect_hard_link(const std::string& name) const;
    /// An open group, dataset or type; the caller owns the identifier.
    hid_t open_object(const std::string& name) const;
    h5::Attribute open_attribute(const std::string& name) const;
    template <typename Value>
    Value number(const std::string& name, h5::Number type) const;

    std::shared_ptr<const InputFile> file_;
    std::string path_;
    h5::Group id_;
};

}  // namespace kvtape
