#pragma once

#include <cstddef>
#include <cstdint>

namespace kvtape {

/// The inner loops over pairs of bfloat16, for processors with AVX512-BF16. A pair is one 32-bit
/// word; the processor adds the product of its upper halves first, so the element of lower index is
/// the upper half. Plain pointers only, as in kernel_table.hpp.
struct Bfloat16Kernels {
    /// out[m, 32] (+)= a[m, k] · panel[k, 32] over `pairs` = k / 2; strides in words and floats.
    /// `columns` of the 32 are written.
    void (*multiply_panel)(const std::uint32_t* a,
                           std::ptrdiff_t a_stride,
                           std::ptrdiff_t rows,
                           std::ptrdiff_t pairs,
                           const std::uint32_t* panel,
                           float* out,
                           std::ptrdiff_t out_stride,
                           std::ptrdiff_t columns,
                           int add);
    /// panel[pairs, 32] = pairs of rows[columns, depth]ᵀ; missing columns, and the element behind
    /// an odd depth, zero.
    void (*pack_transposed)(const std::uint16_t* rows,
                            std::ptrdiff_t stride,
                            std::ptrdiff_t columns,
                            std::ptrdiff_t depth,
                            std::uint32_t* panel);
};

const Bfloat16Kernels& bfloat16_kernels();

}  // namespace kvtape
