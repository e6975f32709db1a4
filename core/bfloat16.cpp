#include "core/bfloat16.hpp"

#include "core/bfloat16_kernels.hpp"
#include "core/error.hpp"
#include "core/half.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <xmmintrin.h>

namespace kvtape {
namespace {

using Index = Eigen::Index;

constexpr Index width = Packed::panel_columns;

/// While it lives, this thread takes subnormal operands for zero and makes no subnormal results:
/// what AVX512-BF16 always does.
class NoSubnormals {
  public:
    NoSubnormals() : before_(_mm_getcsr()) {
        constexpr unsigned flush_results = 0x8000, zero_operands = 0x0040;
        _mm_setcsr(before_ | flush_results | zero_operands);
    }
    NoSubnormals(const NoSubnormals&) = delete;
    ~NoSubnormals() { _mm_setcsr(before_); }

  private:
    unsigned before_;
};

/// Rows of floats without gaps.
void convert(
    const std::uint16_t* elements, Index stride, Index rows, Index depth, std::vector<float>& out) {
    out.resize(static_cast<std::size_t>(rows * depth));
    const auto size = static_cast<std::size_t>(depth);
    for (Index row = 0; row < rows; ++row)
        bfloat16_to_float({elements + row * stride, size}, {out.data() + row * depth, size});
}

}  // namespace

Bfloat16Layout bfloat16_layout() {
    return active_isa() == Isa::avx512_bf16 ? Bfloat16Layout::pairs : Bfloat16Layout::floats;
}

void Bfloat16Rows::assign(
    Bfloat16Layout layout, const std::uint16_t* elements, Index stride, Index rows, Index depth) {
    layout_ = layout;
    rows_ = rows;
    depth_ = depth;
    if (layout == Bfloat16Layout::floats)
        return convert(elements, stride, rows, depth, floats_);
    const Index pairs = (depth + 1) / 2;
    pairs_.resize(static_cast<std::size_t>(rows * pairs));
    if (pairs == 0)
        return;
    for (Index row = 0; row < rows; ++row) {
        const std::uint16_t* from = elements + row * stride;
        std::uint32_t* to = pairs_.data() + row * pairs;
        to[pairs - 1] = 0;
        std::memcpy(to, from, static_cast<std::size_t>(depth) * sizeof *from);
        for (Index k = 0; k < pairs; ++k)
            to[k] = std::rotl(to[k], 16);
    }
}

void Bfloat16Panels::assign_transposed(
    Bfloat16Layout layout, const std::uint16_t* elements, Index stride, Index rows, Index depth) {
    layout_ = layout;
    columns_ = rows;
    depth_ = depth;
    if (layout == Bfloat16Layout::floats) {
        convert(elements, stride, rows, depth, floats_);
        return packed_.assign_transposed(view(floats_.data(), rows, depth));
    }
    const Index panel_words = (depth + 1) / 2 * width;
    const Index panels = (rows + width - 1) / width;
    pairs_.resize(static_cast<std::size_t>(panels * panel_words));
    for (Index i = 0; i < panels; ++i)
        bfloat16_kernels().pack_transposed(elements + i * width * stride,
                                           stride,
                                           std::min(width, rows - i * width),
                                           depth,
                                           pairs_.data() + i * panel_words);
}

void multiply(const Bfloat16Rows& a,
              Index first_row,
              const Bfloat16Panels& b,
              bool add,
              MutableMatrixView out) {
    if (a.layout_ != b.layout_ || a.depth_ != b.depth_ || out.cols() != b.columns_ ||
        first_row + out.rows() > a.rows_)
        throw internal_error("multiplying bfloat16 matrices: the operands do not fit");
    if (a.layout_ == Bfloat16Layout::floats) {
        const NoSubnormals here;
        const MatrixView rows = view(a.floats_.data() + first_row * a.depth_, out.rows(), a.depth_);
        return add ? multiply_add(rows, b.packed_, out) : multiply(rows, b.packed_, out);
    }
    const Index pairs = (a.depth_ + 1) / 2;
    for (Index column = 0; column < out.cols(); column += width)
        bfloat16_kernels().multiply_panel(a.pairs_.data() + first_row * pairs,
                                          pairs,
                                          out.rows(),
                                          pairs,
                                          b.pairs_.data() + column * pairs,
                                          out.data() + column,
                                          out.outerStride(),
                                          std::min(width, out.cols() - column),
                                          add ? 1 : 0);
}

}  // namespace kvtape
