#include "core/kernels.hpp"

#include "core/error.hpp"
#include "core/exp.hpp"
#include "core/philox.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/reference.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

using namespace kvtape;

namespace {

Matrix random_matrix(Eigen::Index rows, Eigen::Index columns, std::uint64_t stream) {
    const Philox random(11, stream);
    Matrix matrix(rows, columns);
    for (Eigen::Index i = 0; i < matrix.size(); ++i)
        matrix.data()[i] =
            static_cast<float>(2.0 * random.uniform(static_cast<std::uint64_t>(i)) - 1.0);
    return matrix;
}

/// Every instruction set this processor has.
std::vector<Isa> instruction_sets() {
    std::vector<Isa> found = {Isa::avx2};
    for (const Isa isa : {Isa::avx512, Isa::avx512_bf16})
        if (supports(isa))
            found.push_back(isa);
    return found;
}

/// Runs `body` on every instruction set and puts the old choice back.
template <typename Body>
void on_every_isa(const Body& body) {
    const Isa before = active_isa();
    for (const Isa isa : instruction_sets()) {
        use_isa(isa);
        body();
    }
    use_isa(before);
}

}  // namespace

TEST_CASE("products equal one chain of fused multiply-adds per element, bit for bit",
          "[core][kernels]") {
    // clang 14 cannot capture structured bindings.
    int m = 0, n = 0, k = 0;
    std::tie(m, n, k) = GENERATE(table<int, int, int>({{1, 1, 1},
                                                       {1, 40, 64},
                                                       {3, 31, 17},
                                                       {12, 32, 64},
                                                       {13, 33, 300},
                                                       {29, 70, 513},
                                                       {7, 5, 0}}));
    const Matrix a = random_matrix(m, k, 1), rows = random_matrix(n, k, 2);
    Matrix expected = random_matrix(m, n, 3);
    const Matrix old = expected;
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
            expected(i, j) = 0.0f;
            for (int c = 0; c < k; ++c)
                expected(i, j) = std::fma(a(i, c), rows(j, c), expected(i, j));
        }
    on_every_isa([&] {
        Matrix out = Matrix::Constant(m, n, 7.0f);
        multiply(view(a), Packed::transposed(view(rows)), mutable_view(out));
        CHECK(out == expected);
        const Matrix straight = rows.transpose();
        multiply(view(a), Packed::straight(view(straight)), mutable_view(out));
        CHECK(out == expected);
        out.setConstant(7.0f);
        multiply_transposed(view(a), view(rows), mutable_view(out));
        CHECK(out == expected);
    });
    on_every_isa([&] {
        Matrix out = old, chained = old;
        for (int i = 0; i < m; ++i)
            for (int j = 0; j < n; ++j)
                for (int c = 0; c < k; ++c)
                    chained(i, j) = std::fma(a(i, c), rows(j, c), chained(i, j));
        multiply_add(view(a), Packed::transposed(view(rows)), mutable_view(out));
        CHECK(out == chained);
    });
}

TEST_CASE("products write nothing outside a strided result", "[core][kernels]") {
    const Matrix a = random_matrix(5, 20, 1), rows = random_matrix(9, 20, 2);
    Matrix wide = Matrix::Constant(5, 16, 3.0f);
    MutableMatrixView part(wide.data() + 2, 5, 9, Eigen::OuterStride<>(16));
    on_every_isa([&] {
        multiply_transposed(view(a), view(rows), part);
        CHECK((wide.leftCols(2).array() == 3.0f).all());
        CHECK((wide.rightCols(5).array() == 3.0f).all());
    });
}

TEST_CASE("row sums have one shape on every instruction set and follow the double twin",
          "[core][kernels]") {
    const int count = GENERATE(1, 15, 16, 17, 64, 127, 128, 1000);
    const Matrix rows = random_matrix(3, count, 5);
    std::vector<std::vector<float>> norms;
    std::vector<float> products;
    on_every_isa([&] {
        norms.emplace_back(3);
        squared_norms(view(rows), norms.back());
        products.push_back(dot({rows.row(0).data(), static_cast<std::size_t>(count)},
                               {rows.row(1).data(), static_cast<std::size_t>(count)}));
    });
    for (std::size_t i = 0; i < norms.size(); ++i) {
        CHECK(norms[i] == norms[0]);
        CHECK(std::bit_cast<std::uint32_t>(products[i]) ==
              std::bit_cast<std::uint32_t>(products[0]));
    }
    for (int i = 0; i < 3; ++i)
        CHECK(norms[0][static_cast<std::size_t>(i)] ==
              Approx(rows.row(i).cast<double>().squaredNorm()).epsilon(1e-6));
}

TEST_CASE("the float exponential stays within two units of the last place", "[core][kernels]") {
    std::vector<float> x;
    for (float value = -87.3f; value < 88.2f; value += 0.00371f)
        x.push_back(value);
    on_every_isa([&] {
        std::vector<float> y = x;
        const double sum = exp_shifted(y, 0.0f);
        double worst = 0.0, expected_sum = 0.0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double exact = std::exp(static_cast<double>(x[i]));
            const double unit =
                static_cast<double>(std::nextafter(y[i], std::numeric_limits<float>::infinity())) -
                static_cast<double>(y[i]);
            worst = std::max(worst, std::abs(static_cast<double>(y[i]) - exact) / unit);
            expected_sum += static_cast<double>(y[i]);
        }
        CHECK(worst < 2.0);
        CHECK(sum == Approx(expected_sum).epsilon(1e-12));
    });
}

TEST_CASE("the float exponential has the same bits on every instruction set", "[core][kernels]") {
    std::vector<std::vector<float>> results;
    std::vector<double> sums;
    on_every_isa([&] {
        std::vector<float> x;
        for (int i = 0; i < 1003; ++i)
            x.push_back(-90.0f + 0.13f * static_cast<float>(i % 900));
        sums.push_back(exp_shifted(x, 1.5f));
        results.push_back(x);
    });
    for (std::size_t i = 0; i < results.size(); ++i) {
        CHECK(results[i] == results[0]);
        CHECK(sums[i] == sums[0]);
    }
}

TEST_CASE("the float exponential handles the ends of the range", "[core][kernels]") {
    const float infinity = std::numeric_limits<float>::infinity();
    on_every_isa([&] {
        std::vector<float> x = {-infinity, -100.0f, 0.0f, 89.0f, infinity, std::nanf("")};
        exp_shifted(x, 0.0f);
        CHECK(x[0] == 0.0f);
        CHECK(x[1] == 0.0f);
        CHECK(x[2] == 1.0f);
        CHECK(x[3] == infinity);
        CHECK(x[4] == infinity);
        CHECK(std::isnan(x[5]));
    });
}

TEST_CASE("sums over many rows have the bits of one row after the other", "[core][kernels]") {
    const int columns = GENERATE(1, 15, 16, 64, 100, 128, 200);
    const Matrix all = random_matrix(40, columns + 3, 11);
    const MatrixView rows(all.data(), 37, columns, Eigen::OuterStride<>(columns + 3));
    const std::vector<float> vector(all.row(38).data(), all.row(38).data() + columns);
    const std::vector<float> factors(all.row(39).data(), all.row(39).data() + 1);
    std::vector<float> weights(37);
    for (int i = 0; i < 37; ++i)
        weights[static_cast<std::size_t>(i)] = all(i, 0) * factors.front();
    on_every_isa([&] {
        std::vector<float> products(37), sum = vector, one_by_one = vector, norms(37), inverse(37);
        squared_norms(rows, norms);
        inverse_norms(rows, inverse);
        dots(rows, vector, products);
        add_scaled_rows(rows, weights, sum);
        for (int i = 0; i < 37; ++i) {
            const std::span<const float> row(all.row(i).data(), vector.size());
            const auto index = static_cast<std::size_t>(i);
            CHECK(products[index] == dot(row, vector));
            CHECK(inverse[index] == 1.0f / std::sqrt(norms[index]));
            add_scaled(row, weights[index], one_by_one);
        }
        CHECK(sum == one_by_one);
    });
}

TEST_CASE("a row of zeros has no direction", "[core][kernels]") {
    const Matrix rows = Matrix::Zero(17, 5);
    on_every_isa([&] {
        std::vector<float> inverse(17, 1.0f);
        inverse_norms(view(rows), inverse);
        CHECK(inverse == std::vector<float>(17, 0.0f));
    });
}

TEST_CASE("maximum, scaled addition and column ranges agree with plain loops", "[core][kernels]") {
    const int count = GENERATE(1, 16, 37, 128);
    const Matrix rows = random_matrix(9, count, 8);
    const std::size_t size = static_cast<std::size_t>(count);
    on_every_isa([&] {
        CHECK(maximum({rows.data(), size}) == rows.row(0).maxCoeff());
        std::vector<float> sum(rows.row(1).data(), rows.row(1).data() + count);
        add_scaled({rows.data(), size}, 0.3f, sum);
        for (std::size_t i = 0; i < size; ++i)
            CHECK(sum[i] == std::fma(0.3f, rows.data()[i], rows.row(1).data()[i]));
        std::vector<float> low(size), high(size);
        column_range(view(rows), low, high);
        for (int j = 0; j < count; ++j) {
            CHECK(low[static_cast<std::size_t>(j)] == rows.col(j).minCoeff());
            CHECK(high[static_cast<std::size_t>(j)] == rows.col(j).maxCoeff());
        }
    });
    CHECK(maximum({}) == -std::numeric_limits<float>::infinity());
}

TEST_CASE("the double exponential and logarithm stay within two units of the last place",
          "[core][exp]") {
    const auto units = [](double found, double exact) {
        const double next =
            std::nextafter(std::abs(exact), std::numeric_limits<double>::infinity());
        return std::abs(found - exact) / (next - std::abs(exact));
    };
    double worst_exponential = 0.0, worst_logarithm = 0.0;
    for (int i = 0; i < 400000; ++i) {
        const double x = -707.0 + 0.003533 * i;
        worst_exponential = std::max(worst_exponential, units(exponential(x), std::exp(x)));
        const double y = std::exp(x) * (1.0 + 1e-3 * (i % 7));
        worst_logarithm = std::max(worst_logarithm, units(logarithm(y), std::log(y)));
    }
    CHECK(worst_exponential < 2.0);
    CHECK(worst_logarithm < 2.0);
    for (int i = 1; i < 2000; ++i)
        CHECK(logarithm(0.5 + 0.0005 * i) ==
              Approx(std::log(0.5 + 0.0005 * i)).epsilon(4e-16).margin(1e-18));
    CHECK(exponential(0.0) == 1.0);
    CHECK(exponential(-1000.0) == 0.0);
    CHECK(exponential(-744.0) == Approx(std::exp(-744.0)).margin(1e-323));
    CHECK(std::isinf(exponential(1000.0)));
    CHECK(std::isnan(exponential(std::nan(""))));
    CHECK(logarithm(1.0) == 0.0);
    CHECK(std::isinf(logarithm(0.0)));
    CHECK(std::isnan(logarithm(-1.0)));
    CHECK(logarithm(5e-324) == Approx(std::log(5e-324)).epsilon(1e-15));
}

TEST_CASE("sine and cosine of a turn are right to 2^-51", "[core][kernels]") {
    double worst = 0.0;
    for (int i = 0; i <= 40000; ++i) {
        const double turns = i / 40000.0;
        const auto [sine, cosine] = sine_cosine(turns);
        const long double angle = 2.0L * 3.14159265358979323846264338327950288L * turns;
        worst = std::max({worst,
                          std::abs(static_cast<double>(sine - std::sin(angle))),
                          std::abs(static_cast<double>(cosine - std::cos(angle)))});
    }
    CHECK(worst < 0x1p-51);
    CHECK(sine_cosine(0.25).sine == 1.0);
    CHECK(sine_cosine(0.5).cosine == -1.0);
}

TEST_CASE("deviations of rescaled rows follow the double twin, with the same bits everywhere",
          "[core][kernels]") {
    const int depth = GENERATE(1, 2, 15, 16, 17, 40, 64, 128, 200);
    const Matrix rows = random_matrix(13, depth, 21);
    const Matrix scale = random_matrix(2, depth, 22);
    const std::span<const float> offset(scale.data(), static_cast<std::size_t>(depth));
    const std::span<const float> factor(scale.data() + depth, static_cast<std::size_t>(depth));
    std::vector<float> first;
    on_every_isa([&] {
        std::vector<float> found(13);
        squared_deviations(view(rows), offset, factor, found);
        if (first.empty())
            first = found;
        CHECK(found == first);
    });
    for (Eigen::Index row = 0; row < rows.rows(); ++row) {
        std::vector<double> rescaled;
        double mean = 0.0, expected = 0.0;
        for (Eigen::Index i = 0; i < depth; ++i) {
            const auto at = static_cast<std::size_t>(i);
            rescaled.push_back(
                (static_cast<double>(rows(row, i)) - static_cast<double>(offset[at])) *
                static_cast<double>(factor[at]));
            mean += rescaled.back() / depth;
        }
        for (const double x : rescaled)
            expected += (x - mean) * (x - mean);
        CHECK(static_cast<double>(first[static_cast<std::size_t>(row)]) ==
              Approx(expected).epsilon(1e-5).margin(1e-6));
    }
}

TEST_CASE("deviations do not suffer when a row is far from the origin", "[core][kernels]") {
    Matrix rows = random_matrix(4, 128, 23);
    for (Eigen::Index i = 0; i < rows.size(); ++i)
        rows.data()[i] = 1000.0f + 0.0625f * static_cast<float>(i % 3);
    const std::vector<float> offset(128, 0.0f), factor(128, 1.0f);
    std::vector<float> found(4);
    squared_deviations(view(rows), offset, factor, found);
    for (const float deviation : found)
        CHECK(static_cast<double>(deviation) ==
              Approx(128 * 0.0625 * 0.0625 * 2 / 3).epsilon(0.01));
}

TEST_CASE("copy_below keeps order and takes exactly the places below the limit",
          "[core][kernels]") {
    const auto count = GENERATE(as<std::size_t>{}, 0, 1, 15, 16, 17, 1000);
    std::vector<Position> from(count), places(count);
    const Philox random(5, 0);
    for (std::size_t i = 0; i < count; ++i) {
        from[i] = static_cast<Position>(3 * i + 7);
        places[i] = static_cast<Position>(random.block(i)[0] % 100);
    }
    for (const Position limit : {0, 1, 50, 100}) {
        std::vector<Position> expected;
        for (std::size_t i = 0; i < count; ++i)
            if (places[i] < limit)
                expected.push_back(from[i]);
        on_every_isa([&] {
            // A guard behind the end: nothing else may be written.
            std::vector<Position> found(expected.size() + 1, -1);
            copy_below(places, limit, from, std::span(found).first(expected.size()));
            CHECK(found.back() == -1);
            found.pop_back();
            CHECK(found == expected);
        });
        std::vector<Position> wrong(expected.size() + 1);
        CHECK_THROWS_AS(copy_below(places, limit, from, wrong), Error);
        if (!expected.empty())
            CHECK_THROWS_AS(
                copy_below(places, limit, from, std::span(wrong).first(expected.size() - 1)),
                Error);
    }
}
