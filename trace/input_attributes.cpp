#include "core/error.hpp"
#include "trace/input.hpp"
#include "trace/schema.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

namespace kvtape {
namespace {

struct FreeMemory {
    void operator()(char* memory) const { H5free_memory(memory); }
};

std::string without_padding(std::string text) {
    text.resize(std::min(text.size(), text.find('\0')));
    return text;
}

}  // namespace

bool InputGroup::has_attribute(const std::string& name) const {
    const h5::Lock lock;
    return h5::check(H5Aexists(id_.get(), name.c_str()),
                     file_->name() + ": looking for attribute " + name + " of " + path_) > 0;
}

h5::Attribute InputGroup::open_attribute(const std::string& name) const {
    if (!has_attribute(name))
        fail("has no attribute " + name);
    h5::Attribute attribute(H5Aopen(id_.get(), name.c_str(), H5P_DEFAULT));
    h5::check(attribute.get(), file_->name() + ": opening attribute " + name + " of " + path_);
    return attribute;
}

std::string InputGroup::raw_attribute(const std::string& name) const {
    const h5::Lock lock;
    const h5::Attribute attribute = open_attribute(name);
    const std::string doing = file_->name() + ": reading attribute " + name + " of " + path_;
    const h5::Type type(h5::check(H5Aget_type(attribute.get()), doing));
    const h5::Space space(h5::check(H5Aget_space(attribute.get()), doing));
    const hssize_t count = H5Sget_simple_extent_npoints(space.get());
    const std::size_t size = H5Tget_size(type.get());
    const bool text = H5Tget_class(type.get()) == H5T_STRING;
    if (text && H5Tis_variable_str(type.get()) > 0) {
        if (count != 1)
            fail("has attribute " + name + " with " + std::to_string(count) +
                 " texts, expected one");
        char* memory = nullptr;
        h5::check(H5Aread(attribute.get(), type.get(), &memory), doing);
        const std::unique_ptr<char, FreeMemory> owned(memory);
        return memory == nullptr ? std::string() : std::string(memory);
    }
    if (H5Tdetect_class(type.get(), H5T_VLEN) > 0 || H5Tdetect_class(type.get(), H5T_STRING) > text)
        fail("has attribute " + name + " of a type that kvtape does not use");
    const std::size_t most = std::min<std::uint64_t>(schema::longest_text, file_->bytes());
    if (count < 0 || size == 0 || static_cast<std::size_t>(count) > most / size)
        fail("has attribute " + name + " larger than the file can hold");
    std::string bytes(static_cast<std::size_t>(count) * size, '\0');
    h5::check(H5Aread(attribute.get(), type.get(), bytes.data()), doing);
    return text ? without_padding(std::move(bytes)) : bytes;
}

std::string InputGroup::text(const std::string& name) const {
    const h5::Lock lock;
    const h5::Attribute attribute = open_attribute(name);
    const h5::Type type(H5Aget_type(attribute.get()));
    const h5::Space space(H5Aget_space(attribute.get()));
    if (H5Tget_class(type.get()) != H5T_STRING)
        fail("has attribute " + name + " of type " + h5::describe(type.get()) +
             ", expected string");
    if (H5Sget_simple_extent_npoints(space.get()) != 1)
        fail("has attribute " + name + " as a list, expected one string");
    return raw_attribute(name);
}

template <typename Value>
Value InputGroup::number(const std::string& name, h5::Number expected) const {
    const h5::Lock lock;
    const h5::Attribute attribute = open_attribute(name);
    const h5::Type type(H5Aget_type(attribute.get()));
    const h5::Type wanted = h5::stored_type(expected);
    const h5::Space space(H5Aget_space(attribute.get()));
    if (!type.valid() || H5Tequal(type.get(), wanted.get()) <= 0)
        fail("has attribute " + name + " of type " + h5::describe(type.get()) + ", expected " +
             h5::describe(wanted.get()));
    if (H5Sget_simple_extent_npoints(space.get()) != 1)
        fail("has attribute " + name + " as a list, expected one number");
    Value value{};
    h5::check(H5Aread(attribute.get(), wanted.get(), &value),
              file_->name() + ": reading attribute " + name + " of " + path_);
    return value;
}

std::int32_t InputGroup::int32(const std::string& name) const {
    return number<std::int32_t>(name, h5::Number::int32);
}
std::int64_t InputGroup::int64(const std::string& name) const {
    return number<std::int64_t>(name, h5::Number::int64);
}
std::uint64_t InputGroup::uint64(const std::string& name) const {
    return number<std::uint64_t>(name, h5::Number::uint64);
}
std::uint8_t InputGroup::uint8(const std::string& name) const {
    return number<std::uint8_t>(name, h5::Number::uint8);
}
std::int8_t InputGroup::int8(const std::string& name) const {
    return number<std::int8_t>(name, h5::Number::int8);
}
double InputGroup::float64(const std::string& name) const {
    return number<double>(name, h5::Number::float64);
}

}  // namespace kvtape
