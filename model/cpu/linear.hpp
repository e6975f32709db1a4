#pragma once

#include "core/bfloat16.hpp"
#include "core/kernels.hpp"
#include "model/backend.hpp"

#include <memory>
#include <mutex>
#include <span>
#include <variant>
#include <vector>

namespace kvtape::model::cpu {

/// A weight of the CPU backend. Vectors ([1, n]: norms, biases) are kept as floats; of matrices
/// only the view of what is stored.
class CpuWeight final : public Weight {
  public:
    CpuWeight(std::span<const std::byte> stored,
              ElementType type,
              std::int64_t rows,
              std::int64_t columns);

    ElementType type() const { return type_; }
    std::span<const std::byte> stored() const { return stored_; }
    std::span<const float> vector() const { return vector_; }
    /// Elements `first` and on of row `row` as floats.
    void read_row(std::int64_t row, std::span<float> out, std::int64_t first = 0) const;

    /// The matrix as `linear` packed it, if it was told to keep that. Not for two threads at once.
    using Kept = std::variant<std::vector<Packed>, std::vector<Bfloat16Panels>>;
    Kept& kept() const { return kept_; }

  private:
    std::span<const std::byte> stored_;
    ElementType type_;
    std::vector<float> vector_;
    mutable Kept kept_;
};

/// Memory of `linear`, kept from call to call because fresh pages cost as much as a tenth of the
/// work.
class LinearScratch {
  public:
    /// What one thread needs.
    struct Desk {
        Packed packed;
        Bfloat16Panels panels;
        std::vector<float> decoded, sums;
    };
    /// A desk for as long as this lives. For several threads at once.
    class Loan {
      public:
        explicit Loan(LinearScratch& owner);
        Loan(const Loan&) = delete;
        ~Loan();
        Desk& operator*() { return *desk_; }

      private:
        LinearScratch& owner_;
        std::unique_ptr<Desk> desk_;
    };
    /// The inputs, slice by slice.
    std::vector<Bfloat16Rows> inputs;

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Desk>> free_;
};

/// Whether a weight stays packed behind its first product. That saves small models most of the time
/// of a decoding step; large ones have no memory for it, and read their weights slower than they
/// can be packed.
enum class Keep { no, yes };

/// out = x · weightᵀ + bias; `bias` may be empty. Weights are packed piece by piece as they are
/// used. Every output is one chain of fused multiply-adds over the inputs in ascending order, so
/// its bits depend neither on threads nor on the other rows.
void linear(ElementType type,
            Activations x,
            const CpuWeight& weight,
            std::span<const float> bias,
            Activations out,
            Keep keep,
            int threads,
            LinearScratch& scratch);

}  // namespace kvtape::model::cpu
