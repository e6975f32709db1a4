#pragma once

#include "core/types.hpp"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kvtape {

/// The dense arithmetic behind every decision. Each output element is one chain of fused
/// multiply-adds in ascending order of the contracted index (products) or a sum of fixed shape
/// (rows), so its bits depend neither on threads nor on whether the AVX2 or the AVX-512 code runs.
/// All functions run on the calling thread.

/// A matrix laid out for `multiply`: columns in panels of 32, rows (the contracted index) inside.
class Packed {
  public:
    static constexpr Eigen::Index panel_columns = 32;

    Packed() = default;
    /// From `rows` [n, k]: the product contracts over k and has n columns (`a · rowsᵀ`).
    static Packed transposed(MatrixView rows);
    /// From `matrix` [k, n]: the product contracts over k and has n columns (`a · matrix`).
    static Packed straight(MatrixView matrix);
    /// The same into this object, whose memory is used again.
    void assign_transposed(MatrixView rows);
    void assign_straight(MatrixView matrix);

    Eigen::Index depth() const { return depth_; }
    Eigen::Index columns() const { return columns_; }
    const float* panel(Eigen::Index index) const {
        return data_.data() + index * depth_ * panel_columns;
    }

  private:
    Eigen::Index depth_ = 0;
    Eigen::Index columns_ = 0;
    std::vector<float> data_;
};

/// out[m, n] = a[m, k] · b. Shapes must match.
void multiply(MatrixView a, const Packed& b, MutableMatrixView out);
/// Columns `first_column` (a multiple of `Packed::panel_columns`) and on of the product, as many as
/// `out` has, contracted over the first `a.cols()` of b alone.
void multiply_part(MatrixView a, const Packed& b, Eigen::Index first_column, MutableMatrixView out);
/// out[m, n] += a[m, k] · b: the chain of each element starts from its old value.
void multiply_add(MatrixView a, const Packed& b, MutableMatrixView out);

/// out[m, n] = a[m, k] · rows[n, k]ᵀ without keeping a packed copy: for operands used once. The
/// same bits as `multiply(a, Packed::transposed(rows), out)`.
void multiply_transposed(MatrixView a, MatrixView rows, MutableMatrixView out);

/// x[i] = e^(x[i] - shift) in float32 (error below 2 units in the last place, 0 below
/// e^-87, +inf above e^88);
/// returns the sum in a fixed order, accumulated in double. -inf gives 0.
double exp_shifted(std::span<float> x, float shift);
/// The largest element, or -inf for none.
float maximum(std::span<const float> x);
/// out[i] += factor * x[i], one fused multiply-add each.
void add_scaled(std::span<const float> x, float factor, std::span<float> out);
/// `add_scaled` of every row by its own factor, one row after the other.
void add_scaled_rows(MatrixView rows, std::span<const float> factors, std::span<float> out);
/// Squared Euclidean norm of every row, 16 lanes of fused multiply-adds, then a fixed tree.
void squared_norms(MatrixView rows, std::span<float> out);
/// 1 / the Euclidean norm of every row, from `squared_norms`; 0 for a row of zeros, which has no
/// direction.
void inverse_norms(MatrixView rows, std::span<float> out);
/// Dot product of `a` and `b`, same shape of sum.
float dot(std::span<const float> a, std::span<const float> b);
/// `dot` of every row and one vector.
void dots(MatrixView rows, std::span<const float> vector, std::span<float> out);
/// Smallest and largest element of every column. Needs at least one row.
void column_range(MatrixView rows, std::span<float> smallest, std::span<float> largest);
/// For every row, rescaled per column to (x - offset) * factor: the sum over columns of the squared
/// deviations from the row's own mean. Sums have the shape of `dot`.
void squared_deviations(MatrixView rows,
                        std::span<const float> offset,
                        std::span<const float> factor,
                        std::span<float> out);
/// Copies from[i] to `out`, in order, wherever places[i] < limit. `out` has one element for each of
/// these places.
void copy_below(std::span<const Position> places,
                Position limit,
                std::span<const Position> from,
                std::span<Position> out);

/// Which instruction set the kernels run on, each with what the ones before it have.
enum class Isa { avx2, avx512, avx512_bf16 };
/// The best this processor has, unless `use_isa` said otherwise.
Isa active_isa();
std::string_view name_of(Isa isa);
/// Whether this processor can run `isa`.
bool supports(Isa isa);
/// Pins the kernels to `isa` (results do not change, only speed). For tests and benchmarks.
void use_isa(Isa isa);

}  // namespace kvtape
