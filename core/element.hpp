#pragma once

#include <cstdint>
#include <string_view>

namespace kvtape {

/// How a number is stored. Arithmetic is float32 or better everywhere.
enum class ElementType { float32, float16, bfloat16 };

constexpr std::int64_t bytes_of(ElementType type) {
    return type == ElementType::float32 ? 4 : 2;
}
constexpr std::string_view name_of(ElementType type) {
    switch (type) {
        case ElementType::float16:
            return "float16";
        case ElementType::bfloat16:
            return "bfloat16";
        case ElementType::float32:
            break;
    }
    return "float32";
}

}  // namespace kvtape
