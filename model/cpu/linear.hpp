#pragma once

#include "core/kernels.hpp"
#include "model/backend.hpp"

#include <span>
#include <vector>

namespace kvtape::model::cpu {

/// A weight of the CPU backend. Vectors ([1, n]: norms, biases) are kept as floats; matrices are
/// packed for the kernels at their first product, because a table that is only looked up never
/// needs it.
class CpuWeight final : public Weight {
  public:
    /// Output columns that are packed, and handed to a thread, together.
    static constexpr std::int64_t block_columns = 4 * Packed::panel_columns;

    CpuWeight(std::span<const std::byte> stored,
              ElementType type,
              std::int64_t rows,
              std::int64_t columns);

    std::span<const float> vector() const { return vector_; }
    /// Row `row` as floats.
    void read_row(std::int64_t row, std::span<float> out) const;
    /// The matrix in blocks of `block_columns` outputs. Not to be called by two threads at once.
    const std::vector<Packed>& blocks(int threads) const;

  private:
    std::span<const std::byte> stored_;
    ElementType type_;
    std::vector<float> vector_;
    mutable std::vector<Packed> blocks_;
};

/// out = x · weightᵀ + bias; `bias` may be empty.
void linear(ElementType type,
            Activations x,
            const CpuWeight& weight,
            std::span<const float> bias,
            Activations out,
            int threads);

}  // namespace kvtape::model::cpu
