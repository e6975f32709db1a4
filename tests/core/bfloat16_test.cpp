#include "core/bfloat16.hpp"

#include "core/error.hpp"
#include "core/half.hpp"
#include "core/philox.hpp"
#include "tests/support/catch.hpp"

#include <cmath>
#include <tuple>
#include <vector>

using namespace kvtape;

namespace {

/// Random bits of bfloat16 with exponents from `lowest` on, `binades` of them.
std::vector<std::uint16_t> random_bits(int count,
                                       std::uint64_t stream,
                                       std::uint32_t lowest,
                                       std::uint32_t binades) {
    const Philox random(17, stream);
    std::vector<std::uint16_t> bits;
    for (int i = 0; i < count; ++i) {
        const auto at = static_cast<std::uint64_t>(2 * i);
        const std::uint32_t sign_and_fraction = random.below(at, 256);
        const std::uint32_t exponent = lowest + random.below(at + 1, binades);
        bits.push_back(static_cast<std::uint16_t>((sign_and_fraction & 0x80u) << 8 | exponent << 7 |
                                                  (sign_and_fraction & 0x7fu)));
    }
    return bits;
}

float value(std::uint16_t bits) {
    float value = 0.0f;
    bfloat16_to_float({&bits, 1}, {&value, 1});
    return value;
}

/// Runs `body` on every instruction set of this processor and puts the old choice back.
template <typename Body>
void on_every_isa(const Body& body) {
    const Isa before = active_isa();
    for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16})
        if (supports(isa)) {
            CAPTURE(name_of(isa));
            use_isa(isa);
            body();
        }
    use_isa(before);
}

struct Operands {
    Bfloat16Rows rows;
    Bfloat16Panels panels;
};

Operands operands(const std::vector<std::uint16_t>& a,
                  int a_stride,
                  int m,
                  const std::vector<std::uint16_t>& b,
                  int b_stride,
                  int n,
                  int k) {
    Operands made;
    made.rows.assign(bfloat16_layout(), a.data(), a_stride, m, k);
    made.panels.assign_transposed(bfloat16_layout(), b.data(), b_stride, n, k);
    return made;
}

}  // namespace

TEST_CASE("products of bfloat16 equal one chain of fused multiply-adds per element, bit for bit",
          "[core][bfloat16]") {
    // clang 14 cannot capture structured bindings.
    int m = 0, n = 0, k = 0, gap = 0;
    std::tie(m, n, k, gap) = GENERATE(table<int, int, int, int>({{1, 1, 1, 0},
                                                                 {1, 40, 64, 0},
                                                                 {3, 31, 17, 0},
                                                                 {12, 32, 64, 2},
                                                                 {13, 33, 300, 1},
                                                                 {29, 70, 513, 3},
                                                                 {25, 128, 1024, 0},
                                                                 {7, 5, 0, 0}}));
    const auto a = random_bits(m * (k + gap) + 1, 1, 115, 12);
    const auto b = random_bits(n * (k + gap) + 1, 2, 115, 12);
    Matrix expected = Matrix::Zero(m, n), chained = Matrix::Constant(m, n, 0.3f);
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j)
            for (int c = 0; c < k; ++c) {
                const float x = value(a[static_cast<std::size_t>(i * (k + gap) + c)]);
                const float y = value(b[static_cast<std::size_t>(j * (k + gap) + c)]);
                expected(i, j) = std::fma(x, y, expected(i, j));
                chained(i, j) = std::fma(x, y, chained(i, j));
            }
    on_every_isa([&] {
        const Operands made = operands(a, k + gap, m, b, k + gap, n, k);
        Matrix out = Matrix::Constant(m, n, 7.0f);
        multiply(made.rows, 0, made.panels, false, mutable_view(out));
        CHECK(out == expected);
        out.setConstant(0.3f);
        multiply(made.rows, 0, made.panels, true, mutable_view(out));
        CHECK(out == chained);
        if (m > 1) {
            Matrix last(1, n);
            multiply(made.rows, m - 1, made.panels, false, mutable_view(last));
            CHECK(last.row(0) == expected.row(m - 1));
        }
    });
}

TEST_CASE("products of bfloat16 write nothing outside a strided result", "[core][bfloat16]") {
    const auto a = random_bits(5 * 20, 1, 120, 8), b = random_bits(9 * 20, 2, 120, 8);
    Matrix wide = Matrix::Constant(5, 16, 3.0f);
    MutableMatrixView part(wide.data() + 2, 5, 9, Eigen::OuterStride<>(16));
    on_every_isa([&] {
        const Operands made = operands(a, 20, 5, b, 20, 9, 20);
        multiply(made.rows, 0, made.panels, false, part);
        CHECK((wide.leftCols(2).array() == 3.0f).all());
        CHECK((wide.rightCols(5).array() == 3.0f).all());
    });
}

TEST_CASE("subnormal factors and sums of bfloat16 products are zero on every instruction set",
          "[core][bfloat16]") {
    constexpr std::uint16_t one = 0x3f80, subnormal = 0x0040, tiny = 0x1c80;  // 2^-127 and 2^-70
    on_every_isa([&] {
        Matrix out(1, 1);
        const auto product = [&](std::uint16_t x, std::uint16_t y) {
            const Operands made = operands({x, 0}, 2, 1, {y, 0}, 2, 1, 2);
            multiply(made.rows, 0, made.panels, false, mutable_view(out));
            return out(0, 0);
        };
        CHECK(product(one, one) == 1.0f);
        CHECK(product(subnormal, one) == 0.0f);
        CHECK(product(one, subnormal) == 0.0f);
        CHECK(product(tiny, tiny) == 0.0f);
        CHECK(product(tiny, one) == 0x1p-70f);
        // Around it, numbers of this thread stay what they are.
        volatile float half = 0x1p-126f;
        half = half * 0.5f;
        CHECK(half == 0x1p-127f);
    });
    const auto a = random_bits(13 * 64, 1, 0, 90), b = random_bits(40 * 64, 2, 0, 90);
    std::vector<Matrix> found;
    on_every_isa([&] {
        const Operands made = operands(a, 64, 13, b, 64, 40, 64);
        multiply(made.rows, 0, made.panels, false, mutable_view(found.emplace_back(13, 40)));
        CHECK(found.back() == found.front());
    });
}

TEST_CASE("products of bfloat16 refuse operands that do not fit", "[core][bfloat16]") {
    const auto a = random_bits(4 * 8, 1, 120, 8), b = random_bits(3 * 8, 2, 120, 8);
    const Operands made = operands(a, 8, 4, b, 8, 3, 8);
    Matrix out(4, 3), wide(4, 4);
    CHECK_THROWS_AS(multiply(made.rows, 0, made.panels, false, mutable_view(wide)), Error);
    CHECK_THROWS_AS(multiply(made.rows, 1, made.panels, false, mutable_view(out)), Error);
    Bfloat16Panels shallow;
    shallow.assign_transposed(bfloat16_layout(), b.data(), 8, 3, 7);
    CHECK_THROWS_AS(multiply(made.rows, 0, shallow, false, mutable_view(out)), Error);
    Bfloat16Panels floats;
    floats.assign_transposed(Bfloat16Layout::floats, b.data(), 8, 3, 8);
    Bfloat16Rows converted;
    converted.assign(Bfloat16Layout::floats, a.data(), 8, 4, 8);
    CHECK_NOTHROW(multiply(converted, 0, floats, false, mutable_view(out)));
}
