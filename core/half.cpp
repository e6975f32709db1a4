#include "core/half.hpp"

#include "core/error.hpp"

#include <bit>
#include <cstring>
#include <vector>

namespace kvtape {
namespace {

float half_to_float(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u)  // infinity and NaN
        return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude >= 0x0400u)  // normal: move the exponent bias from 15 to 127
        return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
    const float denormal = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(denormal));
}

std::uint16_t float_to_half(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u)  // rounds to 65536 or more
        return static_cast<std::uint16_t>(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {  // below the smallest normal half: multiples of 2^-24
        const float scaled = std::bit_cast<float>(magnitude) + 0.5f;  // rounds at 2^-24
        return static_cast<std::uint16_t>(
            sign | (std::bit_cast<std::uint32_t>(scaled) - std::bit_cast<std::uint32_t>(0.5f)));
    }
    const std::uint32_t odd = (magnitude >> 13) & 1u;
    return static_cast<std::uint16_t>(sign | ((magnitude - (112u << 23) + 0xfffu + odd) >> 13));
}

std::uint16_t float_to_bf16(float value) {
    // Without a branch, so that a loop over many becomes vectors.
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t upper = bits >> 16;
    const std::uint32_t rounded = (bits + 0x7fffu + (upper & 1u)) >> 16;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return static_cast<std::uint16_t>(nan ? upper | 0x0040u : rounded);
}

void expect_equal_sizes(std::size_t a, std::size_t b) {
    if (a != b)
        throw internal_error("converting numbers: " + std::to_string(a) +
                             " elements into room for " + std::to_string(b));
}

std::span<const std::uint16_t> as_halves(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const std::uint16_t*>(bytes.data()), bytes.size() / 2};
}

}  // namespace

void bfloat16_to_float(std::span<const std::uint16_t> bits, std::span<float> out) {
    expect_equal_sizes(bits.size(), out.size());
    for (std::size_t i = 0; i < bits.size(); ++i)
        out[i] = std::bit_cast<float>(static_cast<std::uint32_t>(bits[i]) << 16);
}

void float16_to_float(std::span<const std::uint16_t> bits, std::span<float> out) {
    expect_equal_sizes(bits.size(), out.size());
    for (std::size_t i = 0; i < bits.size(); ++i)
        out[i] = half_to_float(bits[i]);
}

void float_to_bfloat16(std::span<const float> values, std::span<std::uint16_t> out) {
    expect_equal_sizes(values.size(), out.size());
    for (std::size_t i = 0; i < values.size(); ++i)
        out[i] = float_to_bf16(values[i]);
}

void float_to_float16(std::span<const float> values, std::span<std::uint16_t> out) {
    expect_equal_sizes(values.size(), out.size());
    for (std::size_t i = 0; i < values.size(); ++i)
        out[i] = float_to_half(values[i]);
}

void decode(ElementType type, std::span<const std::byte> stored, std::span<float> out) {
    expect_equal_sizes(stored.size(), out.size() * static_cast<std::size_t>(bytes_of(type)));
    switch (type) {
        case ElementType::float32:
            if (!stored.empty())
                std::memcpy(out.data(), stored.data(), stored.size());
            return;
        case ElementType::float16:
            return float16_to_float(as_halves(stored), out);
        case ElementType::bfloat16:
            return bfloat16_to_float(as_halves(stored), out);
    }
}

void encode(ElementType type, std::span<const float> values, std::span<std::byte> out) {
    expect_equal_sizes(values.size() * static_cast<std::size_t>(bytes_of(type)), out.size());
    const std::span<std::uint16_t> halves(reinterpret_cast<std::uint16_t*>(out.data()),
                                          out.size() / 2);
    switch (type) {
        case ElementType::float32:
            if (!values.empty())
                std::memcpy(out.data(), values.data(), out.size());
            return;
        case ElementType::float16:
            return float_to_float16(values, halves);
        case ElementType::bfloat16:
            return float_to_bfloat16(values, halves);
    }
}

void round_to(ElementType type, std::span<float> values) {
    switch (type) {
        case ElementType::float32:
            return;
        case ElementType::float16:
            for (float& value : values)
                value = half_to_float(float_to_half(value));
            return;
        case ElementType::bfloat16:
            for (float& value : values)
                value =
                    std::bit_cast<float>(static_cast<std::uint32_t>(float_to_bf16(value)) << 16);
            return;
    }
}

}  // namespace kvtape
