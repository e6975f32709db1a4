#pragma once

#include "core/kernels.hpp"

#include <cstdint>
#include <vector>

namespace kvtape {

/// Products of bfloat16 matrices, summed in float32: every output is the chain of fused
/// multiply-adds of `multiply` over the same numbers, except that subnormal factors and subnormal
/// sums count as zero. On processors with AVX512-BF16 one instruction does two links of the chain;
/// elsewhere the factors are converted, and the bits are the same.

/// How bfloat16 factors lie in memory.
enum class Bfloat16Layout {
    floats,  ///< converted, for the kernels of `multiply`
    pairs    ///< two to a word, for AVX512-BF16
};
/// The better one for the active instruction set.
Bfloat16Layout bfloat16_layout();

/// A left operand [m, k].
class Bfloat16Rows {
  public:
    /// Copies `rows` rows of `depth` elements that begin `stride` elements apart.
    void assign(Bfloat16Layout layout,
                const std::uint16_t* elements,
                Eigen::Index stride,
                Eigen::Index rows,
                Eigen::Index depth);

  private:
    friend void multiply(const Bfloat16Rows& a,
                         Eigen::Index first_row,
                         const class Bfloat16Panels& b,
                         bool add,
                         MutableMatrixView out);
    Bfloat16Layout layout_ = Bfloat16Layout::floats;
    Eigen::Index rows_ = 0;
    Eigen::Index depth_ = 0;
    std::vector<std::uint32_t> pairs_;  ///< [m, (k + 1) / 2]
    std::vector<float> floats_;         ///< [m, k]
};

/// A right operand, packed in panels of `Packed::panel_columns` columns.
class Bfloat16Panels {
  public:
    /// From [n, k], rows `stride` elements apart: the product contracts over k and has n columns.
    void assign_transposed(Bfloat16Layout layout,
                           const std::uint16_t* elements,
                           Eigen::Index stride,
                           Eigen::Index rows,
                           Eigen::Index depth);
    Bfloat16Layout layout() const { return layout_; }

  private:
    friend void multiply(const Bfloat16Rows& a,
                         Eigen::Index first_row,
                         const Bfloat16Panels& b,
                         bool add,
                         MutableMatrixView out);
    Bfloat16Layout layout_ = Bfloat16Layout::floats;
    Eigen::Index columns_ = 0;
    Eigen::Index depth_ = 0;
    std::vector<std::uint32_t> pairs_;  ///< [panels, (k + 1) / 2, 32]
    std::vector<float> floats_;         ///< the rows, before they are packed
    Packed packed_;
};

/// out[m, n] = a · b, or += with `add` (the chains then start from the old values), for as many
/// rows of `a` from `first_row` on as `out` has. Shapes and layouts must match.
void multiply(const Bfloat16Rows& a,
              Eigen::Index first_row,
              const Bfloat16Panels& b,
              bool add,
              MutableMatrixView out);

}  // namespace kvtape
