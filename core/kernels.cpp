#include "core/kernels.hpp"

#include "core/bfloat16_kernels.hpp"
#include "core/error.hpp"
#include "core/kernel_table.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

namespace kvtape {
namespace {

using Index = Eigen::Index;

constexpr Index width = Packed::panel_columns;
/// Panels are multiplied in slices of this depth, so that a slice stays in the first-level caches.
/// Each slice continues the chains of the one before: the bits do not depend on it.
constexpr Index slice_depth = 256;

std::atomic<Isa>& chosen_isa() {
    static std::atomic<Isa> isa = supports(Isa::avx512_bf16) ? Isa::avx512_bf16
                                  : supports(Isa::avx512)    ? Isa::avx512
                                                             : Isa::avx2;
    return isa;
}

const KernelTable& kernels() {
    return active_isa() == Isa::avx2 ? avx2_kernels() : avx512_kernels();
}

void expect_shapes(bool fit, const char* what) {
    if (!fit)
        throw internal_error(std::string(what) + ": the shapes of the operands do not fit");
}

enum class Start { zero, old_value };

/// The product over the first `a.cols()` of b's depth, columns from `first_column` on.
void multiply_panels(
    MatrixView a, const Packed& b, Index first_column, MutableMatrixView out, Start start) {
    const KernelTable& table = kernels();
    if (a.cols() == 0 && start == Start::zero)
        out.setZero();
    for (Index column = 0; column < out.cols(); column += width)
        for (Index k = 0; k < a.cols(); k += slice_depth)
            table.multiply_panel(a.data() + k,
                                 a.outerStride(),
                                 a.rows(),
                                 std::min(slice_depth, a.cols() - k),
                                 b.panel((first_column + column) / width) + k * width,
                                 out.data() + column,
                                 out.outerStride(),
                                 std::min(width, out.cols() - column),
                                 start == Start::old_value || k > 0);
}

/// Whether this processor adds the two products of a word of bfloat16 pairs as documented, the
/// upper one first and each sum rounded: 1 + 2^24 - 2^24 is then 0. Needs AVX512-BF16.
bool adds_upper_product_first() {
    constexpr std::uint32_t large = 0x4580, negative = 0x8000;  // 2^12 and a sign
    const std::uint32_t a = large << 16 | large;
    std::array<std::uint32_t, width> b;
    b.fill(large << 16 | large | negative);
    std::array<float, width> sums;
    sums.fill(1.0f);
    bfloat16_kernels().multiply_panel(&a, 1, 1, 1, b.data(), sums.data(), width, width, 1);
    return std::all_of(sums.begin(), sums.end(), [](float sum) { return sum == 0.0f; });
}

void expect_product(MatrixView a, const Packed& b, MutableMatrixView out) {
    expect_shapes(a.cols() == b.depth() && a.rows() == out.rows() && b.columns() == out.cols(),
                  "multiplying matrices");
}

}  // namespace

Packed Packed::transposed(MatrixView rows) {
    Packed packed;
    packed.assign_transposed(rows);
    return packed;
}

Packed Packed::straight(MatrixView matrix) {
    Packed packed;
    packed.assign_straight(matrix);
    return packed;
}

void Packed::assign_transposed(MatrixView rows) {
    depth_ = rows.cols();
    columns_ = rows.rows();
    const Index panels = (columns_ + width - 1) / width;
    data_.resize(static_cast<std::size_t>(panels * depth_ * width));
    for (Index i = 0; i < panels; ++i)
        kernels().pack_transposed(rows.data() + i * width * rows.outerStride(),
                                  rows.outerStride(),
                                  std::min(width, columns_ - i * width),
                                  depth_,
                                  data_.data() + i * depth_ * width);
}

void Packed::assign_straight(MatrixView matrix) {
    depth_ = matrix.rows();
    columns_ = matrix.cols();
    const Index panels = (columns_ + width - 1) / width;
    data_.resize(static_cast<std::size_t>(panels * depth_ * width));
    for (Index i = 0; i < panels; ++i)
        for (Index k = 0; k < depth_; ++k) {
            const Index count = std::min(width, columns_ - i * width);
            float* to = data_.data() + (i * depth_ + k) * width;
            std::copy_n(matrix.data() + k * matrix.outerStride() + i * width, count, to);
            std::fill(to + count, to + width, 0.0f);
        }
}

void multiply(MatrixView a, const Packed& b, MutableMatrixView out) {
    expect_product(a, b, out);
    multiply_panels(a, b, 0, out, Start::zero);
}

void multiply_add(MatrixView a, const Packed& b, MutableMatrixView out) {
    expect_product(a, b, out);
    multiply_panels(a, b, 0, out, Start::old_value);
}

void multiply_part(MatrixView a, const Packed& b, Index first_column, MutableMatrixView out) {
    expect_shapes(a.cols() <= b.depth() && a.rows() == out.rows() && first_column % width == 0 &&
                      first_column + out.cols() <= b.columns(),
                  "multiplying by a part of a matrix");
    multiply_panels(a, b, first_column, out, Start::zero);
}

void multiply_transposed(MatrixView a, MatrixView rows, MutableMatrixView out) {
    expect_shapes(a.cols() == rows.cols() && a.rows() == out.rows() && rows.rows() == out.cols(),
                  "multiplying by a transposed matrix");
    const KernelTable& table = kernels();
    if (a.cols() == 0)
        out.setZero();
    std::array<float, slice_depth * width> panel;
    for (Index column = 0; column < rows.rows(); column += width) {
        const Index columns = std::min(width, rows.rows() - column);
        for (Index k = 0; k < a.cols(); k += slice_depth) {
            const Index depth = std::min(slice_depth, a.cols() - k);
            table.pack_transposed(rows.data() + column * rows.outerStride() + k,
                                  rows.outerStride(),
                                  columns,
                                  depth,
                                  panel.data());
            table.multiply_panel(a.data() + k,
                                 a.outerStride(),
                                 a.rows(),
                                 depth,
                                 panel.data(),
                                 out.data() + column,
                                 out.outerStride(),
                                 columns,
                                 k > 0);
        }
    }
}

double exp_shifted(std::span<float> x, float shift) {
    return kernels().exp_shifted(x.data(), std::ssize(x), shift);
}

float maximum(std::span<const float> x) {
    return kernels().maximum(x.data(), std::ssize(x));
}

void add_scaled(std::span<const float> x, float factor, std::span<float> out) {
    expect_shapes(x.size() == out.size(), "adding a scaled vector");
    kernels().add_scaled(x.data(), std::ssize(x), factor, out.data());
}

void squared_norms(MatrixView rows, std::span<float> out) {
    expect_shapes(rows.rows() == std::ssize(out), "computing norms");
    kernels().squared_norms(rows.data(), rows.outerStride(), rows.rows(), rows.cols(), out.data());
}

void add_scaled_rows(MatrixView rows, std::span<const float> factors, std::span<float> out) {
    expect_shapes(rows.rows() == std::ssize(factors) && rows.cols() == std::ssize(out),
                  "adding scaled rows");
    kernels().add_scaled_rows(
        rows.data(), rows.outerStride(), rows.rows(), rows.cols(), factors.data(), out.data());
}

void dots(MatrixView rows, std::span<const float> vector, std::span<float> out) {
    expect_shapes(rows.rows() == std::ssize(out) && rows.cols() == std::ssize(vector),
                  "computing dot products of rows");
    kernels().dots(
        rows.data(), rows.outerStride(), rows.rows(), rows.cols(), vector.data(), out.data());
}

float dot(std::span<const float> a, std::span<const float> b) {
    expect_shapes(a.size() == b.size(), "computing a dot product");
    return kernels().dot(a.data(), b.data(), std::ssize(a));
}

void inverse_norms(MatrixView rows, std::span<float> out) {
    expect_shapes(rows.rows() == std::ssize(out), "computing inverse norms");
    kernels().inverse_norms(rows.data(), rows.outerStride(), rows.rows(), rows.cols(), out.data());
}

void column_range(MatrixView rows, std::span<float> smallest, std::span<float> largest) {
    expect_shapes(rows.rows() > 0 && rows.cols() == std::ssize(smallest) &&
                      rows.cols() == std::ssize(largest),
                  "computing the range of columns");
    kernels().column_range(
        rows.data(), rows.outerStride(), rows.rows(), rows.cols(), smallest.data(), largest.data());
}

void squared_deviations(MatrixView rows,
                        std::span<const float> offset,
                        std::span<const float> factor,
                        std::span<float> out) {
    expect_shapes(rows.rows() == std::ssize(out) && rows.cols() == std::ssize(offset) &&
                      rows.cols() == std::ssize(factor),
                  "computing squared deviations");
    kernels().squared_deviations(rows.data(),
                                 rows.outerStride(),
                                 rows.rows(),
                                 rows.cols(),
                                 offset.data(),
                                 factor.data(),
                                 out.data());
}

void copy_below(std::span<const Position> places,
                Position limit,
                std::span<const Position> from,
                std::span<Position> out) {
    constexpr const char* what = "copying positions below a limit";
    expect_shapes(places.size() == from.size(), what);
    const std::ptrdiff_t below = kernels().copy_below(
        places.data(), limit, from.data(), std::ssize(from), out.data(), std::ssize(out));
    expect_shapes(below == std::ssize(out), what);
}

Isa active_isa() {
    return chosen_isa().load(std::memory_order_relaxed);
}

std::string_view name_of(Isa isa) {
    switch (isa) {
        case Isa::avx2:
            return "avx2";
        case Isa::avx512:
            return "avx512";
        case Isa::avx512_bf16:
            return "avx512_bf16";
    }
    throw internal_error("naming an instruction set: there is none of this number");
}

bool supports(Isa isa) {
    if (isa == Isa::avx512_bf16)
        return supports(Isa::avx512) && __builtin_cpu_supports("avx512bf16") &&
               adds_upper_product_first();
    if (isa == Isa::avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

void use_isa(Isa isa) {
    if (!supports(isa))
        throw usage_error("choosing kernels: this processor has no " + std::string(name_of(isa)));
    chosen_isa().store(isa, std::memory_order_relaxed);
}

}  // namespace kvtape
