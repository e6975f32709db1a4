#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace kvtape::model {

/// A file mapped read-only, for as long as the object lives. Move-only.
class MappedFile {
  public:
    /// Not there, not a regular file or not readable: an io error.
    explicit MappedFile(const std::filesystem::path& path);
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

    std::span<const std::byte> bytes() const { return bytes_; }

  private:
    std::span<const std::byte> bytes_;
};

}  // namespace kvtape::model
