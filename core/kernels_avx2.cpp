#include "core/kernel_table.hpp"

#include <immintrin.h>

namespace kvtape {
namespace {

/// 16 floats in two registers.
struct Lanes {
    __m256 low, high;
};

inline Lanes zero() {
    return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
inline Lanes broadcast(float x) {
    return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline Lanes load(const float* p) {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline void store(float* p, Lanes v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
}
inline Lanes fused(Lanes a, Lanes b, Lanes c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Lanes add(Lanes a, Lanes b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline Lanes subtract(Lanes a, Lanes b) {
    return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline Lanes multiply(Lanes a, Lanes b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline Lanes smaller(Lanes a, Lanes b) {
    return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline Lanes larger(Lanes a, Lanes b) {
    return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline Lanes nearest_integer(Lanes a) {
    constexpr int to_nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.low, to_nearest), _mm256_round_ps(a.high, to_nearest)};
}
inline __m256 inverse_root_half(__m256 a) {
    const __m256 above = _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_and_ps(above, _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(a)));
}
/// 1 / sqrt(a), both rounded; 0 where a is not above 0.
inline Lanes inverse_root(Lanes a) {
    return {inverse_root_half(a.low), inverse_root_half(a.high)};
}
inline __m256 scale_half(__m256 x, __m256 whole) {
    const __m256i shift = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), shift));
}
/// x * 2^whole for normal results.
inline Lanes scale(Lanes x, Lanes whole) {
    return {scale_half(x.low, whole.low), scale_half(x.high, whole.high)};
}
/// `then` where a < b, else `otherwise`.
inline Lanes where_less(Lanes a, Lanes b, Lanes then, Lanes otherwise) {
    return {_mm256_blendv_ps(otherwise.low, then.low, _mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
            _mm256_blendv_ps(otherwise.high, then.high, _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
}
/// `then` where a is NaN, else `otherwise`.
inline Lanes where_nan(Lanes a, Lanes then, Lanes otherwise) {
    return {
        _mm256_blendv_ps(otherwise.low, then.low, _mm256_cmp_ps(a.low, a.low, _CMP_UNORD_Q)),
        _mm256_blendv_ps(otherwise.high, then.high, _mm256_cmp_ps(a.high, a.high, _CMP_UNORD_Q))};
}

/// Adds lanes i and i + 8, then i + 4, i + 2, i + 1.
inline float tree_sum(Lanes v) {
    const __m256 eight = _mm256_add_ps(v.low, v.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/// 16 doubles in four registers.
struct WideLanes {
    __m256d part[4];
};
inline WideLanes wide_zero() {
    const __m256d none = _mm256_setzero_pd();
    return {{none, none, none, none}};
}
inline WideLanes wide_add(WideLanes sum, Lanes x) {
    return {{_mm256_add_pd(sum.part[0], _mm256_cvtps_pd(_mm256_castps256_ps128(x.low))),
             _mm256_add_pd(sum.part[1], _mm256_cvtps_pd(_mm256_extractf128_ps(x.low, 1))),
             _mm256_add_pd(sum.part[2], _mm256_cvtps_pd(_mm256_castps256_ps128(x.high))),
             _mm256_add_pd(sum.part[3], _mm256_cvtps_pd(_mm256_extractf128_ps(x.high, 1)))}};
}
inline void wide_store(double* p, WideLanes v) {
    for (int i = 0; i < 4; ++i)
        _mm256_storeu_pd(p + 4 * i, v.part[i]);
}

/// Writes 16 elements: those of `from` whose place is below `limit`, then anything. Returns how
/// many of them count. Gathered without branches first: they could not be predicted.
inline std::ptrdiff_t copy_lanes_below(const std::int32_t* places,
                                       std::int32_t limit,
                                       const std::int32_t* from,
                                       std::int32_t* out) {
    std::int32_t gathered[17] = {};
    std::ptrdiff_t count = 0;
    for (int i = 0; i < 16; ++i) {
        gathered[count] = from[i];
        count += places[i] < limit;
    }
    __builtin_memcpy(out, gathered, 16 * sizeof *out);
    return count;
}

constexpr int tile_rows = 6;  // 6 x 16 outputs: 12 of 16 registers
constexpr int tile_lanes = 1;
constexpr int range_groups = 4;  // twice as many accumulators

inline void transpose_block(const float* rows, std::ptrdiff_t stride, float* out) {
    __m256 r[8];
    for (int half = 0; half < 2; ++half)
        for (int block = 0; block < 2; ++block) {
            for (int i = 0; i < 8; ++i)
                r[i] = _mm256_loadu_ps(rows + (8 * half + i) * stride + 8 * block);
            __m256 t[8];
            for (int i = 0; i < 8; i += 2) {
                t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
                t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
            }
            for (int i = 0; i < 8; i += 4) {
                r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
                r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
                r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
                r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
            }
            for (int i = 0; i < 4; ++i) {
                float* column = out + (8 * block + i) * 32 + 8 * half;
                _mm256_storeu_ps(column, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
                _mm256_storeu_ps(column + 4 * 32, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
            }
        }
}

#include "core/kernels_body.inl"

}  // namespace

const KernelTable& avx2_kernels() {
    static constexpr KernelTable table = make_table();
    return table;
}

}  // namespace kvtape
