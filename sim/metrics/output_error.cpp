#include "sim/metrics/output_error.hpp"

#include <algorithm>

namespace kvtape {

OutputNorm::OutputNorm(MatrixView columns)
    : dim_(static_cast<std::size_t>(columns.cols())),
      gram_(dim_ * dim_, 0.0) {
    for (Eigen::Index row = 0; row < columns.rows(); ++row)
        for (std::size_t i = 0; i < dim_; ++i) {
            const auto left = static_cast<double>(columns(row, static_cast<Eigen::Index>(i)));
            for (std::size_t j = i; j < dim_; ++j)
                gram_[i * dim_ + j] +=
                    (i == j ? left : 2.0 * left) *
                    static_cast<double>(columns(row, static_cast<Eigen::Index>(j)));
        }
}

double OutputNorm::squared(std::span<const double> x) const {
    double sum = 0.0;
    for (std::size_t i = 0; i < dim_; ++i) {
        double row = 0.0;
        for (std::size_t j = i; j < dim_; ++j)
            row += gram_[i * dim_ + j] * x[j];
        sum += x[i] * row;
    }
    return std::max(sum, 0.0);
}

double output_error(std::span<const double> full,
                    std::span<const double> sum,
                    double mass,
                    const OutputNorm* norm) {
    double length = 0.0, distance = 0.0;
    if (norm == nullptr) {
        for (std::size_t i = 0; i < full.size(); ++i) {
            const double off = full[i] - (mass > 0.0 ? sum[i] / mass : 0.0);
            length += full[i] * full[i];
            distance += off * off;
        }
    } else {
        std::vector<double> off(full.size());
        for (std::size_t i = 0; i < full.size(); ++i)
            off[i] = full[i] - (mass > 0.0 ? sum[i] / mass : 0.0);
        length = norm->squared(full);
        distance = norm->squared(off);
    }
    if (distance == 0.0)
        return 0.0;
    return length > 0.0 ? std::sqrt(distance) / std::sqrt(length) : 1.0;
}

}  // namespace kvtape
