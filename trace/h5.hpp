#pragma once

#include "core/element.hpp"
#include "core/error.hpp"

#include <hdf5.h>

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace kvtape::h5 {

/// Holds the one HDF5 mutex of the process (re-entrant) and keeps the library from printing on this
/// thread. Whoever calls HDF5 holds one.
class Lock {
  public:
    Lock();

  private:
    std::unique_lock<std::recursive_mutex> held_;
};

/// Owns an HDF5 identifier. Move-only; closing takes the lock and never throws.
template <herr_t (*Close)(hid_t)>
class Handle {
  public:
    Handle() = default;
    explicit Handle(hid_t id) : id_(id) {}
    Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
    Handle& operator=(Handle&& other) noexcept {
        std::swap(id_, other.id_);
        return *this;
    }
    ~Handle() { close(); }

    hid_t get() const { return id_; }
    bool valid() const { return id_ >= 0; }
    /// Hands the identifier to somebody else who closes it.
    hid_t release() { return std::exchange(id_, H5I_INVALID_HID); }
    /// Closes now; false when HDF5 could not (its error stack says why).
    bool close() {
        if (!valid())
            return true;
        const Lock lock;
        return Close(std::exchange(id_, H5I_INVALID_HID)) >= 0;
    }

  private:
    hid_t id_ = H5I_INVALID_HID;
};

using File = Handle<H5Fclose>;
using Group = Handle<H5Gclose>;
using Dataset = Handle<H5Dclose>;
using Attribute = Handle<H5Aclose>;
using Space = Handle<H5Sclose>;
using Type = Handle<H5Tclose>;
using Properties = Handle<H5Pclose>;

/// Returns `id`, or throws when it is negative: `doing: <innermost entry of the HDF5 error stack>`.
/// It is an io error when the operating system refused, and of kind `otherwise` when it did not.
hid_t check(hid_t id, std::string_view doing, ErrorKind otherwise = ErrorKind::format);

/// Stored number types other than the element types of a model.
enum class Number { uint8, int8, int32, int64, uint64, float64 };

/// The HDF5 type, little endian.
Type stored_type(Number number);
Type stored_type(ElementType type);
/// A fixed-length, null-terminated UTF-8 string type that holds `bytes` bytes and the terminator.
Type text_type(std::size_t bytes);

/// A type in words for messages: `int32`, `bfloat16`, `string`.
std::string describe(hid_t type);

/// How our files are opened and created: 1.8 to 1.10 formats, everything closed with the file, and
/// no file locking (`PartialFile` has its own).
enum class Purpose { read, write };
Properties file_access(Purpose purpose);
/// Creation of files, groups and datasets: no times stored.
Properties creation_of(hid_t property_class);

}  // namespace kvtape::h5
