#include "model/mapped_file.hpp"

#include "core/error.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace kvtape::model {
namespace {

class FileDescriptor {
  public:
    explicit FileDescriptor(const std::filesystem::path& path)
        : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (descriptor_ < 0)
            throw errno_error("opening " + path.string());
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor() { ::close(descriptor_); }
    int get() const { return descriptor_; }

  private:
    int descriptor_;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
    const FileDescriptor file(path);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0)
        throw errno_error("reading " + path.string());
    if (!S_ISREG(status.st_mode))
        throw io_error("reading " + path.string() + ": it is not a regular file");
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size == 0)
        return;
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (mapped == MAP_FAILED)
        throw errno_error("mapping " + path.string());
    bytes_ = {static_cast<const std::byte*>(mapped), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
}

MappedFile::~MappedFile() {
    if (!bytes_.empty())
        ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace kvtape::model
