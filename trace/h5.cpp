#include "trace/h5.hpp"

#include <charconv>

namespace kvtape::h5 {
namespace {

std::recursive_mutex& library_mutex() {
    static std::recursive_mutex mutex;
    // A file that a full disk keeps from closing would be tried again, loudly, at exit.
    static const herr_t closed_by_us = H5dont_atexit();
    static_cast<void>(closed_by_us);
    return mutex;
}

herr_t keep_innermost(unsigned, const H5E_error2_t* entry, void* kept) noexcept {
    try {
        if (entry->desc != nullptr)
            *static_cast<std::string*>(kept) = entry->desc;
    } catch (...) {
        return -1;
    }
    return 0;
}

std::string innermost_error() {
    std::string text;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, &text);
    return text.empty() ? "HDF5 gives no reason" : text;
}

/// The operating system's number inside `file write failed: time = ..., errno = 28, ...`, or 0.
int system_reason(std::string_view text) {
    constexpr std::string_view mark = "errno = ";
    const std::size_t begin = text.find(mark);
    int number = 0;
    if (begin != std::string_view::npos)
        std::from_chars(text.data() + begin + mark.size(), text.data() + text.size(), number);
    return number;
}

Type small_float(std::size_t exponent_bits, std::size_t mantissa_bits, std::size_t bias) {
    Type type(check(H5Tcopy(H5T_IEEE_F32LE), "making a float type"));
    check(H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits),
          "placing the fields of a float type");
    check(H5Tset_size(type.get(), 2), "sizing a float type");
    check(H5Tset_ebias(type.get(), bias), "biasing a float type");
    return type;
}

bool same(hid_t a, const Type& b) {
    return H5Tequal(a, b.get()) > 0;
}

}  // namespace

Lock::Lock() : held_(library_mutex()) {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

hid_t check(hid_t id, std::string_view doing, ErrorKind otherwise) {
    if (id >= 0)
        return id;
    const std::string inner = innermost_error();
    if (const int reason = system_reason(inner); reason != 0)
        throw system_error(doing, reason);
    if (otherwise == ErrorKind::format)
        throw format_error(std::string(doing) +
                           ": the file is damaged there; copy it again or make it anew");
    throw Error(otherwise, std::string(doing) + ": " + inner);
}

Type stored_type(Number number) {
    const Lock lock;
    const auto base = [number] {
        switch (number) {
            case Number::uint8:
                return H5T_STD_U8LE;
            case Number::int8:
                return H5T_STD_I8LE;
            case Number::int32:
                return H5T_STD_I32LE;
            case Number::int64:
                return H5T_STD_I64LE;
            case Number::uint64:
                return H5T_STD_U64LE;
            case Number::float64:
                break;
        }
        return H5T_IEEE_F64LE;
    };
    return Type(check(H5Tcopy(base()), "copying a number type"));
}

Type stored_type(ElementType type) {
    const Lock lock;
    switch (type) {
        case ElementType::float16:
            return small_float(5, 10, 15);
        case ElementType::bfloat16:
            return small_float(8, 7, 127);
        case ElementType::float32:
            break;
    }
    return Type(check(H5Tcopy(H5T_IEEE_F32LE), "copying a float type"));
}

Type text_type(std::size_t bytes) {
    const Lock lock;
    Type type(check(H5Tcopy(H5T_C_S1), "making a string type"));
    check(H5Tset_size(type.get(), bytes + 1), "sizing a string type");
    check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "choosing UTF-8 for a string type");
    return type;
}

std::string describe(hid_t type) {
    const Lock lock;
    for (const ElementType element :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16})
        if (same(type, stored_type(element)))
            return std::string(name_of(element));
    const std::string bits = std::to_string(8 * H5Tget_size(type));
    const std::string order = H5Tget_order(type) == H5T_ORDER_BE ? "big-endian " : "";
    switch (H5Tget_class(type)) {
        case H5T_INTEGER:
            return order + (H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int") + bits;
        case H5T_FLOAT:
            return order +
                   (same(type, stored_type(Number::float64)) ? "float64" : bits + "-bit float");
        case H5T_STRING:
            return "string";
        default:
            return "a type that kvtape does not use";
    }
}

Properties file_access(Purpose purpose) {
    const Lock lock;
    Properties access(check(H5Pcreate(H5P_FILE_ACCESS), "preparing file access"));
    check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V110),
          "bounding the HDF5 format");
    check(H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG), "preparing file access");
    check(H5Pset_file_locking(access.get(), false, true), "switching file locking off");
    H5AC_cache_config_t cache{};
    cache.version = H5AC__CURR_CACHE_CONFIG_VERSION;
    check(H5Pget_mdc_config(access.get(), &cache), "preparing the metadata cache");
    if (purpose == Purpose::read) {
        // The index of one array at a time: what is held grows neither with the number of sequences
        // nor, where hundreds of decision files are open, to gigabytes.
        cache.set_initial_size = true;
        cache.initial_size = 128 << 10;
        cache.min_size = 64 << 10;
        cache.max_size = 256 << 10;
    } else {
        // Metadata reaches the disk at a flush and never between two: what a killed writer leaves
        // is what its last flush wrote.
        cache.evictions_enabled = false;
        cache.incr_mode = H5C_incr__off;
        cache.flash_incr_mode = H5C_flash_incr__off;
        cache.decr_mode = H5C_decr__off;
    }
    check(H5Pset_mdc_config(access.get(), &cache), "preparing the metadata cache");
    return access;
}

Properties creation_of(hid_t property_class) {
    const Lock lock;
    Properties creation(check(H5Pcreate(property_class), "preparing an object"));
    check(H5Pset_obj_track_times(creation.get(), false), "switching object times off");
    return creation;
}

}  // namespace kvtape::h5
