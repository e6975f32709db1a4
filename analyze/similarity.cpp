#include "analyze/similarity.hpp"

#include "core/kernels.hpp"
#include "core/parallel.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kvtape {
namespace {

/// One rotation that makes element (p, q) of a symmetric matrix zero.
void rotate(std::vector<double>& matrix, std::size_t n, std::size_t p, std::size_t q) {
    const double off = matrix[p * n + q];
    if (off == 0.0)
        return;
    const double tau = (matrix[q * n + q] - matrix[p * n + p]) / (2.0 * off);
    const double tangent = (tau >= 0.0 ? 1.0 : -1.0) / (std::abs(tau) + std::sqrt(1.0 + tau * tau));
    const double cosine = 1.0 / std::sqrt(1.0 + tangent * tangent), sine = tangent * cosine;
    for (std::size_t k = 0; k < n; ++k) {
        const double left = matrix[k * n + p], right = matrix[k * n + q];
        matrix[k * n + p] = cosine * left - sine * right;
        matrix[k * n + q] = sine * left + cosine * right;
    }
    for (std::size_t k = 0; k < n; ++k) {
        const double left = matrix[p * n + k], right = matrix[q * n + k];
        matrix[p * n + k] = cosine * left - sine * right;
        matrix[q * n + k] = sine * left + cosine * right;
    }
}

/// [dim, tokens]: the columns of a head as rows, each less its mean.
Matrix centred_columns(const MatrixView& head) {
    Matrix columns(head.cols(), head.rows());
    for (Eigen::Index column = 0; column < head.cols(); ++column) {
        double sum = 0.0;
        for (Eigen::Index row = 0; row < head.rows(); ++row)
            sum += static_cast<double>(head(row, column));
        const double mean = head.rows() == 0 ? 0.0 : sum / static_cast<double>(head.rows());
        for (Eigen::Index row = 0; row < head.rows(); ++row)
            columns(column, row) =
                static_cast<float>(static_cast<double>(head(row, column)) - mean);
    }
    return columns;
}

/// Squared Frobenius norm of a · bᵀ.
double squared_norm_of_product(const Matrix& a, const Matrix& b) {
    Matrix product(a.rows(), b.rows());
    multiply_transposed(view(a), view(b), mutable_view(product));
    double sum = 0.0;
    for (Eigen::Index i = 0; i < product.size(); ++i)
        sum += static_cast<double>(product.data()[i]) * static_cast<double>(product.data()[i]);
    return sum;
}

}  // namespace

void Similarity::add(const Similarity& other) {
    for (std::size_t i = 0; i < values_.size(); ++i)
        values_[i] += other.values_[i];
}

std::vector<double> eigenvalues(const Similarity& similarity) {
    const std::size_t n = similarity.heads();
    std::vector<double> matrix(n * n);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
            matrix[i * n + j] = similarity.at(i, j);
    // Convergence is quadratic: a handful of sweeps reach the last bit, and the rest find zeros.
    constexpr int sweeps = 30;
    for (int sweep = 0; sweep < sweeps; ++sweep)
        for (std::size_t p = 0; p < n; ++p)
            for (std::size_t q = p + 1; q < n; ++q)
                rotate(matrix, n, p, q);
    std::vector<double> found;
    for (std::size_t i = 0; i < n; ++i)
        found.push_back(matrix[i * n + i]);
    std::sort(found.begin(), found.end());
    return found;
}

double effective_heads(const Similarity& similarity) {
    double entropy = 0.0;
    for (const double eigenvalue : eigenvalues(similarity)) {
        const double share = eigenvalue / static_cast<double>(similarity.heads());
        if (share > 0.0)
            entropy -= share * std::log(share);
    }
    return std::exp(entropy);
}

Similarity linear_cka(std::span<const MatrixView> heads, int threads) {
    std::vector<Matrix> columns(heads.size());
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    for (std::size_t i = 0; i < heads.size(); ++i)
        for (std::size_t j = i; j < heads.size(); ++j)
            pairs.emplace_back(i, j);
    parallel_for(
        heads.size(), threads, [&](std::size_t i) { columns[i] = centred_columns(heads[i]); });
    std::vector<double> norms(pairs.size());
    parallel_for(pairs.size(), threads, [&](std::size_t pair) {
        norms[pair] =
            squared_norm_of_product(columns[pairs[pair].first], columns[pairs[pair].second]);
    });
    std::vector<double> own(heads.size());
    for (std::size_t pair = 0; pair < pairs.size(); ++pair)
        if (pairs[pair].first == pairs[pair].second)
            own[pairs[pair].first] = norms[pair];
    Similarity found(heads.size());
    for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
        const auto [i, j] = pairs[pair];
        const double scale = std::sqrt(own[i]) * std::sqrt(own[j]);
        if (i != j)
            found.set(i, j, scale > 0.0 ? norms[pair] / scale : 0.0);
    }
    return found;
}

}  // namespace kvtape
