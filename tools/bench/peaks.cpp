#include "tools/bench/peaks.hpp"

#include "core/kernels.hpp"
#include "core/parallel.hpp"

#include <cstdint>
#include <immintrin.h>
#include <vector>

namespace kvtape::bench {
namespace {

constexpr std::int64_t chain_length = 40'000'000;

/// Chains of fused multiply-adds, enough to hide their latency. Returns something that depends on
/// all.
__attribute__((target("avx512f"))) float chains_avx512(std::int64_t steps) {
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-6f);
    __m512 sums[12];
    for (int i = 0; i < 12; ++i)
        sums[i] = _mm512_set1_ps(static_cast<float>(i));
    for (std::int64_t step = 0; step < steps; ++step)
        for (__m512& sum : sums)
            sum = _mm512_fmadd_ps(sum, a, b);
    __m512 total = sums[0];
    for (int i = 1; i < 12; ++i)
        total = _mm512_add_ps(total, sums[i]);
    return _mm512_cvtss_f32(total);
}

float chains_avx2(std::int64_t steps) {
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-6f);
    __m256 sums[12];
    for (int i = 0; i < 12; ++i)
        sums[i] = _mm256_set1_ps(static_cast<float>(i));
    for (std::int64_t step = 0; step < steps; ++step)
        for (__m256& sum : sums)
            sum = _mm256_fmadd_ps(sum, a, b);
    __m256 total = sums[0];
    for (int i = 1; i < 12; ++i)
        total = _mm256_add_ps(total, sums[i]);
    return _mm256_cvtss_f32(total);
}

/// Eight running sums: enough loads in flight to be limited by memory alone.
float read_all(const float* data, std::size_t count) {
    __m256 sums[8];
    for (__m256& sum : sums)
        sum = _mm256_setzero_ps();
    for (std::size_t i = 0; i + 64 <= count; i += 64)
        for (std::size_t j = 0; j < 8; ++j)
            sums[j] = _mm256_add_ps(sums[j], _mm256_loadu_ps(data + i + 8 * j));
    for (std::size_t j = 1; j < 8; ++j)
        sums[0] = _mm256_add_ps(sums[0], sums[j]);
    return _mm256_cvtss_f32(sums[0]);
}

}  // namespace

Peaks measure_peaks(const Setting& setting, std::span<const float> tensor) {
    const std::size_t threads = static_cast<std::size_t>(setting.threads);
    std::vector<float> results(threads);
    Peaks peaks;
    peaks.read = measure(setting, [&] {
        parallel_for(threads, setting.threads, [&](std::size_t i) {
            const std::size_t share = tensor.size() / threads;
            results[i] = read_all(tensor.data() + i * share, share);
        });
    });
    peaks.multiply = measure(setting, [&] {
        parallel_for(threads, setting.threads, [&](std::size_t i) {
            results[i] =
                active_isa() != Isa::avx2 ? chains_avx512(chain_length) : chains_avx2(chain_length);
        });
    });
    const double lanes = active_isa() == Isa::avx2 ? 8.0 : 16.0;
    peaks.read_bytes_per_second =
        static_cast<double>(tensor.size() * sizeof(float)) / peaks.read.median;
    peaks.flops_per_second = 2.0 * 12.0 * lanes * static_cast<double>(chain_length) *
                             static_cast<double>(threads) / peaks.multiply.median;
    return peaks;
}

std::vector<Json> peak_rows(const Setting& setting, const Peaks& peaks) {
    Json read = row("read memory", setting, peaks.read);
    read["bytes_per_second"] = peaks.read_bytes_per_second;
    Json multiply = row("fused multiply-adds", setting, peaks.multiply);
    multiply["flops_per_second"] = peaks.flops_per_second;
    return {read, multiply};
}

}  // namespace kvtape::bench
