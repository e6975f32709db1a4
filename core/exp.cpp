#include "core/exp.hpp"

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace kvtape {
namespace {

constexpr double log2_e = 1.4426950408889634074;
// ln 2 in two parts: the first has 32 trailing zero bits, so that k * high is exact for |k| < 2^11.
constexpr double ln2_high = 6.93147180369123816490e-01;
constexpr double ln2_low = 1.90821492927058770002e-10;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// 2^k for k in [-1022, 1023].
double power_of_two(std::int64_t k) {
    return std::bit_cast<double>((k + 1023) << 52);
}

}  // namespace

double exponential(double x) {
    if (x != x)
        return nan;
    if (x > 709.782712893384)
        return infinity;
    if (x < -745.2)
        return 0.0;
    // x = k ln 2 + r with |r| <= ln 2 / 2, then the Taylor series of degree 13 (its remainder is
    // below 2^-58 of the value there).
    const double shifted = x * log2_e + (x < 0 ? -0.5 : 0.5);
    const std::int64_t k = static_cast<std::int64_t>(shifted);
    const double whole = static_cast<double>(k);
    const double r = (x - whole * ln2_high) - whole * ln2_low;
    double sum = 1.0 / 6227020800.0;
    for (const double coefficient : {1.0 / 479001600.0,
                                     1.0 / 39916800.0,
                                     1.0 / 3628800.0,
                                     1.0 / 362880.0,
                                     1.0 / 40320.0,
                                     1.0 / 5040.0,
                                     1.0 / 720.0,
                                     1.0 / 120.0,
                                     1.0 / 24.0,
                                     1.0 / 6.0,
                                     0.5})
        sum = sum * r + coefficient;
    const double value = 1.0 + (r + (r * r) * sum);
    // In two steps, so that results below the normal range round once, at the end.
    const std::int64_t half = k / 2;
    return value * power_of_two(half) * power_of_two(k - half);
}

double logarithm(double x) {
    if (x != x || x < 0.0)
        return nan;
    if (x == 0.0)
        return -infinity;
    if (x == infinity)
        return infinity;
    std::int64_t k = 0;
    if (x < std::numeric_limits<double>::min()) {  // denormal
        x *= 0x1p54;
        k = -54;
    }
    // x = 2^k m with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(s), s = (m - 1) / (m + 1).
    std::int64_t bits = std::bit_cast<std::int64_t>(x);
    const std::int64_t sqrt_half = std::bit_cast<std::int64_t>(0.70710678118654752440);
    const std::int64_t exponent = (bits - sqrt_half) >> 52;
    k += exponent;
    const double m = std::bit_cast<double>(bits - (exponent << 52));
    const double s = (m - 1.0) / (m + 1.0);
    const double square = s * s;
    double sum = 1.0 / 23.0;
    for (const double odd : {21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0})
        sum = sum * square + 1.0 / odd;
    const double whole = static_cast<double>(k);
    return whole * ln2_high + (2.0 * s + (2.0 * s * square * sum + whole * ln2_low));
}

SineCosine sine_cosine(double turns) {
    // The nearest quarter turn, then Taylor series over |x| <= pi / 4, whose remainders are below
    // 2^-58.
    const auto quarter = static_cast<int>(4.0 * turns + 0.5);
    const double x = 6.2831853071795864769 * (turns - 0.25 * quarter);
    const double square = x * x;
    double sine = 0.0, cosine = 0.0;
    for (int power = 16; power >= 2; power -= 2) {
        sine = (1.0 - sine) * square / ((power + 1) * power);
        cosine = (1.0 - cosine) * square / (power * (power - 1));
    }
    sine = x - x * sine;
    cosine = 1.0 - cosine;
    switch (quarter % 4) {
        case 1:
            return {cosine, -sine};
        case 2:
            return {-sine, -cosine};
        case 3:
            return {-cosine, sine};
        default:
            return {sine, cosine};
    }
}

}  // namespace kvtape
