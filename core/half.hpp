#pragma once

#include "core/types.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvtape {

/// Bulk conversions between float32 and the raw bits of IEEE half and bfloat16. Rounding is to
/// nearest, ties to even; denormals, infinities and the sign of zero are kept; NaN stays NaN.
void bfloat16_to_float(std::span<const std::uint16_t> bits, std::span<float> out);
void float16_to_float(std::span<const std::uint16_t> bits, std::span<float> out);
void float_to_bfloat16(std::span<const float> values, std::span<std::uint16_t> out);
void float_to_float16(std::span<const float> values, std::span<std::uint16_t> out);

/// Stored elements of `type` (little endian, `out.size()` of them) as floats.
void decode(ElementType type, std::span<const std::byte> stored, std::span<float> out);
/// Floats as stored elements of `type`; `out` holds `values.size() * bytes_of(type)` bytes.
void encode(ElementType type, std::span<const float> values, std::span<std::byte> out);
/// Rounds every value to the nearest one that `type` can hold.
void round_to(ElementType type, std::span<float> values);

}  // namespace kvtape
