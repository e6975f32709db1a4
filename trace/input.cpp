#include "trace/input.hpp"

#include "core/error.hpp"
#include "trace/schema.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace kvtape {
namespace {

constexpr std::size_t most_names = 20000;

/// Collects names during an HDF5 iteration, which no exception may cross.
struct Names {
    std::vector<std::string> list;
    bool too_many = false;

    herr_t add(const char* name) noexcept {
        try {
            too_many = list.size() == most_names;
            if (!too_many)
                list.emplace_back(name);
            return too_many ? 1 : 0;
        } catch (...) {
            return -1;
        }
    }
};

herr_t add_link(hid_t, const char* name, const H5L_info_t*, void* names) {
    return static_cast<Names*>(names)->add(name);
}

herr_t add_attribute(hid_t, const char* name, const H5A_info_t*, void* names) {
    return static_cast<Names*>(names)->add(name);
}

std::vector<std::string> in_byte_order(Names names) {
    std::sort(names.list.begin(), names.list.end());
    return std::move(names.list);
}

/// After HDF5 could not open a file of `bytes` bytes.
[[noreturn]] void refuse_unopened(const std::string& doing, std::uint64_t bytes) {
    try {
        h5::check(H5I_INVALID_HID, doing);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::format)
            throw;
    }
    throw format_error(doing + " (" + std::to_string(bytes) +
                       " bytes): it is cut off or its head is damaged; copy it again or make it "
                       "anew");
}

}  // namespace

std::shared_ptr<const InputFile> InputFile::open(const std::filesystem::path& path) {
    if (path.empty())
        throw io_error("opening a file: its name is empty; name a trace or a decision file");
    std::shared_ptr<InputFile> file(new InputFile(path.string()));
    file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file->descriptor_ < 0 || fstat(file->descriptor_, &status) != 0)
        throw errno_error("opening " + file->name_);
    if (!S_ISREG(status.st_mode))
        throw io_error("opening " + file->name_ + ": it is not a regular file");
    file->bytes_ = static_cast<std::uint64_t>(status.st_size);
    const h5::Lock lock;
    file->open_with(h5::file_access(h5::Purpose::read));
    return file;
}

std::shared_ptr<const InputFile> InputFile::of_image(std::span<const std::byte> image,
                                                     std::string name) {
    std::shared_ptr<InputFile> file(new InputFile(std::move(name)));
    file->image_.assign(image.begin(), image.end());
    file->bytes_ = image.size();
    const h5::Lock lock;
    const h5::Properties access = h5::file_access(h5::Purpose::read);
    const std::string doing = "opening " + file->name_;
    constexpr std::size_t growth = 1 << 16;
    h5::check(H5Pset_fapl_core(access.get(), growth, false), doing);
    if (image.empty())
        throw format_error(doing + ": it is empty");
    h5::check(H5Pset_file_image(access.get(), file->image_.data(), file->image_.size()), doing);
    file->open_with(access);
    return file;
}

void InputFile::open_with(const h5::Properties& access) {
    const std::string doing = "opening " + name_;
    constexpr std::array<unsigned char, 8> signature = {
        0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    std::array<unsigned char, 8> found{};
    if (!read_at(0, std::as_writable_bytes(std::span(found))) || found != signature)
        throw format_error(doing + ": it is not an HDF5 file (" + std::to_string(bytes_) +
                           " bytes); expected a trace, decisions or scores of kvtape");
    id_ = h5::File(H5Fopen(name_.c_str(), H5F_ACC_RDONLY, access.get()));
    if (!id_.valid())
        refuse_unopened(doing, bytes_);
    const h5::Properties creation(h5::check(H5Fget_create_plist(id_.get()), doing));
    hsize_t user_block = 0;
    h5::check(H5Pget_userblock(creation.get(), &user_block), doing);
    if (user_block != 0)
        throw format_error(doing + ": it begins with a user block of " +
                           std::to_string(user_block) + " bytes; files of kvtape have none");
}

InputFile::~InputFile() {
    if (descriptor_ >= 0)
        ::close(descriptor_);
}

bool InputFile::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset > bytes_ || out.size() > bytes_ - offset)
        return false;
    if (descriptor_ < 0) {
        std::memcpy(out.data(), image_.data() + offset, out.size());
        return true;
    }
    while (!out.empty()) {
        const ssize_t count =
            pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            throw errno_error("reading " + name_);
        if (count == 0)
            return false;
        offset += static_cast<std::uint64_t>(count);
        out = out.subspan(static_cast<std::size_t>(count));
    }
    return true;
}

void InputFile::note_header(hid_t object) const {
    H5O_info_t info{};
    h5::check(H5Oget_info2(object, &info, H5O_INFO_HDR), name_ + ": looking at an object header");
    constexpr unsigned first_with_checksum = 2;
    if (info.hdr.version < first_with_checksum)
        note_unguarded();
}

InputGroup InputGroup::root(std::shared_ptr<const InputFile> file) {
    const h5::Lock lock;
    h5::Group id(H5Gopen2(file->id(), "/", H5P_DEFAULT));
    h5::check(id.get(), "opening the root of " + file->name());
    file->note_header(id.get());
    return {std::move(file), "/", std::move(id)};
}

void InputGroup::fail(const std::string& problem) const {
    throw format_error(file_->name() + ": " + path_ + " " + problem);
}

std::string InputGroup::child_path(const std::string& name) const {
    return path_ == "/" ? "/" + name : path_ + "/" + name;
}

bool InputGroup::has(const std::string& name) const {
    const h5::Lock lock;
    return h5::check(H5Lexists(id_.get(), name.c_str(), H5P_DEFAULT),
                     file_->name() + ": looking for " + child_path(name)) > 0;
}

void InputGroup::expect_hard_link(const std::string& name) const {
    H5L_info_t info{};
    const herr_t found = H5Lget_info(id_.get(), name.c_str(), &info, H5P_DEFAULT);
    if (found < 0 && !has(name))
        fail("has no " + name);
    h5::check(found, file_->name() + ": following " + child_path(name));
    if (info.type != H5L_TYPE_HARD)
        fail("reaches " + name + " through a soft or external link; links are not followed");
}

hid_t InputGroup::open_object(const std::string& name) const {
    expect_hard_link(name);
    h5::Handle<H5Oclose> object(h5::check(H5Oopen(id_.get(), name.c_str(), H5P_DEFAULT),
                                          file_->name() + ": opening " + child_path(name)));
    file_->note_header(object.get());
    return object.release();
}

bool InputGroup::is_group(const std::string& name) const {
    const h5::Lock lock;
    const h5::Handle<H5Oclose> object(open_object(name));
    return H5Iget_type(object.get()) == H5I_GROUP;
}

std::vector<std::string> InputGroup::names() const {
    const h5::Lock lock;
    Names names;
    h5::check(H5Literate(id_.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, add_link, &names),
              file_->name() + ": listing " + path_);
    if (names.too_many)
        fail("holds more than " + std::to_string(most_names) + " objects");
    return in_byte_order(std::move(names));
}

std::vector<std::string> InputGroup::attribute_names() const {
    const h5::Lock lock;
    Names names;
    h5::check(H5Aiterate2(id_.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, add_attribute, &names),
              file_->name() + ": listing the attributes of " + path_);
    if (names.too_many)
        fail("has more than " + std::to_string(most_names) + " attributes");
    return in_byte_order(std::move(names));
}

std::uint64_t InputGroup::address() const {
    const h5::Lock lock;
    H5O_info_t info{};
    h5::check(H5Oget_info2(id_.get(), &info, H5O_INFO_BASIC),
              file_->name() + ": looking at " + path_);
    return info.addr;
}

InputGroup InputGroup::group(const std::string& name) const {
    const h5::Lock lock;
    const hid_t object = open_object(name);
    if (H5Iget_type(object) == H5I_GROUP)
        return {file_, child_path(name), h5::Group(object)};
    const h5::Handle<H5Oclose> other(object);
    fail("has " + name + " as something else than a group");
}

}  // namespace kvtape
