#include "core/bfloat16_kernels.hpp"

#include <immintrin.h>

namespace kvtape {
namespace {

constexpr std::ptrdiff_t lane_count = 16;
constexpr std::ptrdiff_t panel_width = 32;
constexpr int tile_lanes = 2;
constexpr int tile_rows = 12;  // 12 x 32 outputs: 24 of 32 registers

#include "core/transpose_avx512.inl"

inline __mmask16 first_lanes(std::ptrdiff_t count) {
    return static_cast<__mmask16>(count >= lane_count ? 0xffff : count > 0 ? (1 << count) - 1 : 0);
}

inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

/// One tile: `Rows` rows of a by 32 columns.
template <unsigned Rows>
inline void multiply_tile(const std::uint32_t* a,
                          std::ptrdiff_t a_stride,
                          std::ptrdiff_t pairs,
                          const std::uint32_t* panel,
                          float* out,
                          std::ptrdiff_t out_stride,
                          std::ptrdiff_t columns,
                          int add) {
    __m512 sums[std::size_t{Rows}][tile_lanes];
    for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{Rows}; ++i)
        for (int j = 0; j < tile_lanes; ++j)
            sums[i][j] = add == 0 ? _mm512_setzero_ps()
                                  : _mm512_maskz_loadu_ps(first_lanes(columns - j * lane_count),
                                                          out + i * out_stride + j * lane_count);
    for (std::ptrdiff_t k = 0; k < pairs; ++k) {
        __m512i b[tile_lanes];
        for (int j = 0; j < tile_lanes; ++j)
            b[j] = _mm512_loadu_si512(panel + k * panel_width + j * lane_count);
        for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{Rows}; ++i) {
            const __m512i x = _mm512_set1_epi32(static_cast<int>(a[i * a_stride + k]));
            for (int j = 0; j < tile_lanes; ++j)
                sums[i][j] = dot(sums[i][j], x, b[j]);
        }
    }
    for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{Rows}; ++i)
        for (int j = 0; j < tile_lanes; ++j)
            _mm512_mask_storeu_ps(out + i * out_stride + j * lane_count,
                                  first_lanes(columns - j * lane_count),
                                  sums[i][j]);
}

/// Runs tiles of `Rows` rows while they fit, then narrower ones.
template <unsigned Rows>
inline void multiply_rows(const std::uint32_t* a,
                          std::ptrdiff_t a_stride,
                          std::ptrdiff_t rows,
                          std::ptrdiff_t pairs,
                          const std::uint32_t* panel,
                          float* out,
                          std::ptrdiff_t out_stride,
                          std::ptrdiff_t columns,
                          int add) {
    constexpr std::ptrdiff_t height = Rows;
    for (; rows >= height; rows -= height, a += height * a_stride, out += height * out_stride)
        multiply_tile<Rows>(a, a_stride, pairs, panel, out, out_stride, columns, add);
    if constexpr (Rows > 1)
        multiply_rows<Rows / 2>(a, a_stride, rows, pairs, panel, out, out_stride, columns, add);
}

void multiply_panel(const std::uint32_t* a,
                    std::ptrdiff_t a_stride,
                    std::ptrdiff_t rows,
                    std::ptrdiff_t pairs,
                    const std::uint32_t* panel,
                    float* out,
                    std::ptrdiff_t out_stride,
                    std::ptrdiff_t columns,
                    int add) {
    multiply_rows<tile_rows>(a, a_stride, rows, pairs, panel, out, out_stride, columns, add);
}

/// Elements 2k and 2k + 1 of a row, the first in the upper half.
inline std::uint32_t pair_of(const std::uint16_t* row, std::ptrdiff_t k, std::ptrdiff_t depth) {
    const std::uint32_t second = 2 * k + 1 < depth ? row[2 * k + 1] : 0;
    return static_cast<std::uint32_t>(row[2 * k]) << 16 | second;
}

void swap_halves(std::uint32_t* words) {
    _mm512_storeu_si512(words, _mm512_rol_epi32(_mm512_loadu_si512(words), 16));
}

void pack_transposed(const std::uint16_t* rows,
                     std::ptrdiff_t stride,
                     std::ptrdiff_t columns,
                     std::ptrdiff_t depth,
                     std::uint32_t* panel) {
    const std::ptrdiff_t pairs = (depth + 1) / 2;
    for (std::ptrdiff_t j = 0; j < panel_width; j += lane_count) {
        std::ptrdiff_t k = 0;
        // Words move through registers unchanged, whatever number they would be.
        if (columns - j >= lane_count && stride % 2 == 0)
            for (; 2 * (k + lane_count) <= depth; k += lane_count) {
                std::uint32_t* to = panel + k * panel_width + j;
                transpose_block(reinterpret_cast<const float*>(rows + j * stride + 2 * k),
                                stride / 2,
                                reinterpret_cast<float*>(to));
                for (std::ptrdiff_t i = 0; i < lane_count; ++i)
                    swap_halves(to + i * panel_width);
            }
        for (; k < pairs; ++k)
            for (std::ptrdiff_t i = j; i < j + lane_count; ++i)
                panel[k * panel_width + i] = i < columns ? pair_of(rows + i * stride, k, depth) : 0;
    }
}

}  // namespace

const Bfloat16Kernels& bfloat16_kernels() {
    static constexpr Bfloat16Kernels table{.multiply_panel = multiply_panel,
                                           .pack_transposed = pack_transposed};
    return table;
}

}  // namespace kvtape
