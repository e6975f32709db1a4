#include "trace/partial_file.hpp"

#include "core/error.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace kvtape {
namespace {

/// A lock on a whole file that belongs to the open file, not to the process.
struct flock whole_file() {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

[[noreturn]] void refuse_second_writer(const std::filesystem::path& partial) {
    throw usage_error("creating " + partial.string() +
                      ": another kvtape is writing it; wait for its end or name another file");
}

std::filesystem::path partial_of(const std::filesystem::path& path) {
    return path.string() + ".partial";
}

int create_locked(const std::filesystem::path& partial) {
    if (::unlink(partial.c_str()) != 0 && errno != ENOENT)
        throw errno_error("creating " + partial.string());
    constexpr mode_t everyone = 0666;
    const int descriptor = ::open(partial.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, everyone);
    if (descriptor < 0 && errno == EEXIST)
        refuse_second_writer(partial);
    if (descriptor < 0)
        throw errno_error("creating " + partial.string());
    struct flock lock = whole_file();
    if (::fcntl(descriptor, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES))
        return descriptor;  // some file systems know no locks
    ::close(descriptor);
    refuse_second_writer(partial);
}

}  // namespace

void refuse_written_elsewhere(const std::filesystem::path& path) {
    const std::filesystem::path partial = partial_of(path);
    const int descriptor = ::open(partial.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0)
        return;
    struct flock lock = whole_file();
    const bool held = ::fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    ::close(descriptor);
    if (held)
        refuse_second_writer(partial);
}

PartialFile::PartialFile(const std::filesystem::path& path, Unended unended)
    : path_(path),
      partial_(partial_of(path)),
      unended_(unended),
      descriptor_((refuse_written_elsewhere(path), create_locked(partial_))) {}

PartialFile::~PartialFile() {
    if (!published_ && unended_ == Unended::remove && in_place())
        ::unlink(partial_.c_str());
    ::close(descriptor_);
}

void PartialFile::synchronise() const {
    // Some network file systems have no fsync.
    if (fsync(descriptor_) != 0 && errno != EINVAL)
        throw errno_error("forcing " + partial_.string() + " to the disk");
}

bool PartialFile::in_place() const {
    struct stat ours {
    }, there{};
    return fstat(descriptor_, &ours) == 0 && lstat(partial_.c_str(), &there) == 0 &&
           ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

void PartialFile::publish() {
    if (!in_place())
        throw io_error("completing " + partial_.string() +
                       ": another program removed or replaced it; write to another name");
    if (std::rename(partial_.c_str(), path_.c_str()) != 0)
        throw errno_error("renaming " + partial_.string() + " to " + path_.string());
    published_ = true;
}

}  // namespace kvtape
