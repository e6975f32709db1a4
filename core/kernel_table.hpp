#pragma once

#include <cstddef>
#include <cstdint>

namespace kvtape {

/// The inner loops, compiled once for each instruction set (kernels_avx2.cpp, kernels_avx512.cpp)
/// from the same source. Both give the same bits. Plain pointers only: nothing here may pull in an
/// inline function of a library, or the linker could pick its AVX-512 copy for every caller.
struct KernelTable {
    /// out[m, 32] (+)= a[m, k] · panel[k, 32]; strides in floats. `columns` of the 32 are written.
    void (*multiply_panel)(const float* a,
                           std::ptrdiff_t a_stride,
                           std::ptrdiff_t rows,
                           std::ptrdiff_t depth,
                           const float* panel,
                           float* out,
                           std::ptrdiff_t out_stride,
                           std::ptrdiff_t columns,
                           int add);
    /// panel[k, 32] = rows[columns, k]ᵀ, missing columns zero.
    void (*pack_transposed)(const float* rows,
                            std::ptrdiff_t stride,
                            std::ptrdiff_t columns,
                            std::ptrdiff_t depth,
                            float* panel);
    double (*exp_shifted)(float* x, std::ptrdiff_t count, float shift);
    float (*maximum)(const float* x, std::ptrdiff_t count);
    void (*add_scaled)(const float* x, std::ptrdiff_t count, float factor, float* out);
    float (*dot)(const float* a, const float* b, std::ptrdiff_t count);
    void (*add_scaled_rows)(const float* rows,
                            std::ptrdiff_t stride,
                            std::ptrdiff_t count,
                            std::ptrdiff_t depth,
                            const float* factors,
                            float* out);
    void (*dots)(const float* rows,
                 std::ptrdiff_t stride,
                 std::ptrdiff_t count,
                 std::ptrdiff_t depth,
                 const float* vector,
                 float* out);
    void (*squared_norms)(const float* rows,
                          std::ptrdiff_t stride,
                          std::ptrdiff_t count,
                          std::ptrdiff_t depth,
                          float* out);
    void (*inverse_norms)(const float* rows,
                          std::ptrdiff_t stride,
                          std::ptrdiff_t count,
                          std::ptrdiff_t depth,
                          float* out);
    void (*column_range)(const float* rows,
                         std::ptrdiff_t stride,
                         std::ptrdiff_t count,
                         std::ptrdiff_t depth,
                         float* smallest,
                         float* largest);
    void (*squared_deviations)(const float* rows,
                               std::ptrdiff_t stride,
                               std::ptrdiff_t count,
                               std::ptrdiff_t depth,
                               const float* offset,
                               const float* factor,
                               float* out);
    /// Returns how many there are, or `room + 1` when there are more than `room`.
    std::ptrdiff_t (*copy_below)(const std::int32_t* places,
                                 std::int32_t limit,
                                 const std::int32_t* from,
                                 std::ptrdiff_t count,
                                 std::int32_t* out,
                                 std::ptrdiff_t room);
};

const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();

}  // namespace kvtape
