#include "core/kernel_table.hpp"

#include <immintrin.h>

namespace kvtape {
namespace {

/// 16 floats.
struct Lanes {
    __m512 all;
};

inline Lanes zero() {
    return {_mm512_setzero_ps()};
}
inline Lanes broadcast(float x) {
    return {_mm512_set1_ps(x)};
}
inline Lanes load(const float* p) {
    return {_mm512_loadu_ps(p)};
}
inline void store(float* p, Lanes v) {
    _mm512_storeu_ps(p, v.all);
}
inline Lanes fused(Lanes a, Lanes b, Lanes c) {
    return {_mm512_fmadd_ps(a.all, b.all, c.all)};
}
inline Lanes add(Lanes a, Lanes b) {
    return {_mm512_add_ps(a.all, b.all)};
}
inline Lanes subtract(Lanes a, Lanes b) {
    return {_mm512_sub_ps(a.all, b.all)};
}
inline Lanes multiply(Lanes a, Lanes b) {
    return {_mm512_mul_ps(a.all, b.all)};
}
inline Lanes smaller(Lanes a, Lanes b) {
    return {_mm512_min_ps(a.all, b.all)};
}
inline Lanes larger(Lanes a, Lanes b) {
    return {_mm512_max_ps(a.all, b.all)};
}
inline Lanes nearest_integer(Lanes a) {
    return {_mm512_roundscale_ps(a.all, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// 1 / sqrt(a), both rounded; 0 where a is not above 0.
inline Lanes inverse_root(Lanes a) {
    const __mmask16 above = _mm512_cmp_ps_mask(a.all, _mm512_setzero_ps(), _CMP_GT_OQ);
    return {_mm512_maskz_div_ps(above, _mm512_set1_ps(1.0f), _mm512_sqrt_ps(a.all))};
}
/// x * 2^whole for normal results.
inline Lanes scale(Lanes x, Lanes whole) {
    const __m512i shift = _mm512_slli_epi32(_mm512_cvtps_epi32(whole.all), 23);
    return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.all), shift))};
}
/// `then` where a < b, else `otherwise`.
inline Lanes where_less(Lanes a, Lanes b, Lanes then, Lanes otherwise) {
    const __mmask16 less = _mm512_cmp_ps_mask(a.all, b.all, _CMP_LT_OQ);
    return {_mm512_mask_blend_ps(less, otherwise.all, then.all)};
}
/// `then` where a is NaN, else `otherwise`.
inline Lanes where_nan(Lanes a, Lanes then, Lanes otherwise) {
    const __mmask16 unordered = _mm512_cmp_ps_mask(a.all, a.all, _CMP_UNORD_Q);
    return {_mm512_mask_blend_ps(unordered, otherwise.all, then.all)};
}

/// Adds lanes i and i + 8, then i + 4, i + 2, i + 1.
inline float tree_sum(Lanes v) {
    const __m256 eight =
        _mm256_add_ps(_mm512_castps512_ps256(v.all), _mm512_extractf32x8_ps(v.all, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/// 16 doubles in two registers.
struct WideLanes {
    __m512d low, high;
};
inline WideLanes wide_zero() {
    return {_mm512_setzero_pd(), _mm512_setzero_pd()};
}
inline WideLanes wide_add(WideLanes sum, Lanes x) {
    return {_mm512_add_pd(sum.low, _mm512_cvtps_pd(_mm512_castps512_ps256(x.all))),
            _mm512_add_pd(sum.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.all, 1)))};
}
inline void wide_store(double* p, WideLanes v) {
    _mm512_storeu_pd(p, v.low);
    _mm512_storeu_pd(p + 8, v.high);
}

/// Writes 16 elements: those of `from` whose place is below `limit`, then anything. Returns how
/// many of them count.
inline std::ptrdiff_t copy_lanes_below(const std::int32_t* places,
                                       std::int32_t limit,
                                       const std::int32_t* from,
                                       std::int32_t* out) {
    const __mmask16 below =
        _mm512_cmplt_epi32_mask(_mm512_loadu_si512(places), _mm512_set1_epi32(limit));
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(below, _mm512_loadu_si512(from)));
    return __builtin_popcount(below);
}

#include "core/transpose_avx512.inl"

constexpr int tile_rows = 12;  // 12 x 32 outputs: 24 of 32 registers
constexpr int tile_lanes = 2;
constexpr int range_groups = 8;  // twice as many accumulators

#include "core/kernels_body.inl"

}  // namespace

const KernelTable& avx512_kernels() {
    static constexpr KernelTable table = make_table();
    return table;
}

}  // namespace kvtape
