#pragma once

#include "core/types.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace kvtape {

/// How alike the KV heads of a layer are, pair by pair: symmetric, 1 on the diagonal.
class Similarity {
  public:
    explicit Similarity(std::size_t heads) : heads_(heads), values_(heads * heads, 0.0) {
        for (std::size_t i = 0; i < heads; ++i)
            values_[i * heads + i] = 1.0;
    }

    std::size_t heads() const { return heads_; }
    double at(std::size_t a, std::size_t b) const { return values_[a * heads_ + b]; }
    void set(std::size_t a, std::size_t b, double value) {
        values_[a * heads_ + b] = values_[b * heads_ + a] = value;
    }
    /// Adds another one, element by element.
    void add(const Similarity& other);

  private:
    std::size_t heads_;
    std::vector<double> values_;
};

/// The eigenvalues of a similarity, ascending, by cyclic Jacobi rotations (Golub and Van Loan,
/// Matrix Computations, section 8.5): the same bits on every machine.
std::vector<double> eigenvalues(const Similarity& similarity);

/// e to the Shannon entropy of the eigenvalues over the number of heads (the Vendi score, Friedman
/// and Dieng 2023): from 1, all alike, to the number of heads, all different. Eigenvalues that
/// rounding left below zero count as zero.
double effective_heads(const Similarity& similarity);

/// Linear CKA of every two of `heads` matrices [tokens, dim] (Kornblith et al. 2019): the squared
/// Frobenius norm of the covariance of two over the product of the norms of their own. A head whose
/// rows are all equal is like no other.
Similarity linear_cka(std::span<const MatrixView> heads, int threads);

}  // namespace kvtape
