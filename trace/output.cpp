#include "trace/output.hpp"

#include "trace/fingerprint.hpp"
#include "trace/schema.hpp"

#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

namespace kvtape {
namespace {

hid_t check(hid_t id, const std::string& doing) {
    return h5::check(id, doing, ErrorKind::io);
}

constexpr std::string_view no_fingerprint = "00000000000000000000000000000000";

h5::File create(const std::filesystem::path& partial) {
    const h5::Lock lock;
    const std::string doing = "creating " + partial.string();
    const h5::Properties creation = h5::creation_of(H5P_FILE_CREATE);
    const h5::Properties access = h5::file_access(h5::Purpose::write);
    return h5::File(
        check(H5Fcreate(partial.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), doing));
}

OutputGroup open_root(const h5::File& file, const std::string& name) {
    const h5::Lock lock;
    return {name, "/", h5::Group(check(H5Gopen2(file.get(), "/", H5P_DEFAULT), "writing " + name))};
}

/// Forces the names in a folder to the disk.
void synchronise(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        throw errno_error("opening " + path.string());
    const int result = fsync(descriptor);
    const int reason = errno;
    ::close(descriptor);
    errno = reason;
    // Some network file systems have no fsync for directories.
    if (result != 0 && errno != EINVAL)
        throw errno_error("forcing " + path.string() + " to the disk");
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path path,
                       Existing existing,
                       const char* mark,
                       const std::string& producer,
                       Unended unended)
    : path_(std::move(path)),
      existing_(existing),
      partial_((refuse_existing(), path_), unended),
      id_(create(partial_.path())),
      root_(open_root(id_, partial_.path().string())) {
    root_.text(mark, std::string(schema::version));
    root_.uint8(schema::complete, 0);
    root_.text(schema::producer, producer);
    root_.text(schema::fingerprint, std::string(no_fingerprint));
}

void OutputFile::refuse_existing() const {
    std::error_code ignored;
    const auto status = std::filesystem::symlink_status(path_, ignored);
    if (std::filesystem::is_directory(status))
        throw usage_error(path_.string() + " is a directory; name a file to write");
    if (existing_ == Existing::refuse && std::filesystem::exists(status))
        throw usage_error(path_.string() + " exists; --overwrite replaces it");
}

void OutputFile::settle() {
    close();
    open_again();
}

void OutputFile::open_again() {
    const h5::Lock lock;
    const h5::Properties access = h5::file_access(h5::Purpose::write);
    id_ = h5::File(check(H5Fopen(partial_.path().c_str(), H5F_ACC_RDWR, access.get()),
                         "writing " + partial_.path().string()));
    root_ = open_root(id_, partial_.path().string());
}

void OutputFile::close() {
    const h5::Lock lock;
    root_ = OutputGroup(partial_.path().string(), "/", h5::Group());
    check(H5Fflush(id_.get(), H5F_SCOPE_GLOBAL), "writing " + partial_.path().string());
    if (!id_.close())
        check(-1, "closing " + partial_.path().string());
}

void OutputFile::mark_complete(const std::string& fingerprint) {
    open_again();
    root_.replace_text(schema::fingerprint, fingerprint);
    root_.replace_uint8(schema::complete, 1);
    close();
}

void OutputFile::publish() {
    partial_.synchronise();
    refuse_existing();
    partial_.publish();
    const std::filesystem::path folder = path_.parent_path();
    synchronise(folder.empty() ? "." : folder);
}

std::string OutputFile::finish() {
    close();
    const std::string fingerprint = fingerprint_of(InputFile::open(partial_.path()));
    mark_complete(fingerprint);
    publish();
    return fingerprint;
}

}  // namespace kvtape
