#pragma once

#include "model/cuda/element.cuh"

#include <cstdint>
#include <type_traits>

/// Tensor core instructions on 16-bit elements. All 32 lanes of a warp take part in each.
namespace kvtape::model::cuda {

/// Loads four 8 x 8 matrices from shared memory. Lane 8m + r passes the address of row r of matrix
/// m; word m of a lane is then elements (lane / 4, lane % 4 * 2) and the next of matrix m.
__device__ inline void load_matrices(std::uint32_t (&words)[4], const void* row) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
}

/// The same with every matrix transposed on the way.
__device__ inline void load_transposed(std::uint32_t (&words)[4], const void* row) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
}

/// Two elements in one word, `low` in the lower half.
template <typename Element>
__device__ std::uint32_t pack(float low, float high) {
    const auto low_bits = from_float<Element>(low);
    const auto high_bits = from_float<Element>(high);
    return static_cast<std::uint32_t>(__builtin_bit_cast(std::uint16_t, low_bits)) |
           static_cast<std::uint32_t>(__builtin_bit_cast(std::uint16_t, high_bits)) << 16;
}

/// sums[16 x 8] += a[16 x 16] · b[16 x 8], products and sums in float32.
template <typename Element>
__device__ void multiply_add(float (&sums)[4],
                             const std::uint32_t (&a)[4],
                             std::uint32_t b0,
                             std::uint32_t b1) {
    static_assert(std::is_same_v<Element, Float16> || std::is_same_v<Element, Bfloat16>);
    if constexpr (std::is_same_v<Element, Bfloat16>) {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
}

}  // namespace kvtape::model::cuda
