#pragma once

#include <filesystem>

namespace kvtape {

/// What stays of a file whose writer reports a failure. A writer that is killed leaves everything.
enum class Unended { keep, remove };

/// The file `<path>.partial`, in which a file of ours lies until it is complete. Locked as long as
/// the object lives, so that no second writer takes it away.
class PartialFile {
  public:
    /// Creates it empty, over an old one. One that another writer holds is a usage error.
    PartialFile(const std::filesystem::path& path, Unended unended);
    PartialFile(const PartialFile&) = delete;
    PartialFile& operator=(const PartialFile&) = delete;
    ~PartialFile();

    const std::filesystem::path& path() const { return partial_; }
    /// Forces it to the disk.
    void synchronise() const;
    /// Gives it the name `path`, over what stands there.
    void publish();

  private:
    bool in_place() const;

    std::filesystem::path path_;
    std::filesystem::path partial_;
    Unended unended_;
    int descriptor_ = -1;
    bool published_ = false;
};

/// A usage error when another writer is at work on `<path>.partial`.
void refuse_written_elsewhere(const std::filesystem::path& path);

}  // namespace kvtape
