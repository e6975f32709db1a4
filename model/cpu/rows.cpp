#include "model/cpu/rows.hpp"

#include "core/half.hpp"

namespace kvtape::model::cpu {
namespace {

std::span<const std::byte> stored(ElementType type, const void* data, std::size_t count) {
    return {static_cast<const std::byte*>(data), count * static_cast<std::size_t>(bytes_of(type))};
}

}  // namespace

Floats::Floats(ElementType type, const void* data, std::int64_t count)
    : data_(static_cast<const float*>(data)),
      count_(static_cast<std::size_t>(count)) {
    if (type == ElementType::float32)
        return;
    copy_.resize(count_);
    decode(type, stored(type, data, count_), copy_);
    data_ = copy_.data();
}

Results::Results(ElementType type, void* data, std::int64_t count, Start start)
    : type_(type),
      target_(data),
      data_(static_cast<float*>(data)),
      count_(static_cast<std::size_t>(count)) {
    if (type == ElementType::float32)
        return;
    buffer_.resize(count_);
    if (start == Start::old_values)
        decode(type, stored(type, data, count_), buffer_);
    data_ = buffer_.data();
}

void Results::store() {
    if (type_ != ElementType::float32)
        encode(
            type_,
            buffer_,
            {static_cast<std::byte*>(target_), count_ * static_cast<std::size_t>(bytes_of(type_))});
}

}  // namespace kvtape::model::cpu
