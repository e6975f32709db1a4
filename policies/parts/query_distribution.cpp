#include "policies/parts/query_distribution.hpp"

namespace kvtape {
namespace {

/// Every element times `factor`.
std::vector<float> scaled(const std::vector<double>& x, double factor) {
    std::vector<float> y;
    y.reserve(x.size());
    for (const double value : x)
        y.push_back(static_cast<float>(factor * value));
    return y;
}

std::vector<double> rows_of(MatrixView matrix, Eigen::Index first, Eigen::Index count) {
    std::vector<double> rows;
    rows.reserve(static_cast<std::size_t>(count * matrix.cols()));
    for (Eigen::Index row = first; row < first + count; ++row)
        for (Eigen::Index i = 0; i < matrix.cols(); ++i)
            rows.push_back(static_cast<double>(matrix(row, i)));
    return rows;
}

}  // namespace

AverageTurn::AverageTurn(const Rotation& rotation, Position first, Position count)
    : rotation_(rotation) {
    for (std::size_t pair = 0; pair < rotation.inv_freq.size(); ++pair) {
        SineCosine sum{.sine = 0.0, .cosine = 0.0};
        for (Position i = 0; i < count; ++i) {
            const auto [sine, cosine] = rotation.turn(static_cast<double>(first) + i, pair);
            sum.sine += sine;
            sum.cosine += cosine;
        }
        turns_.push_back({.sine = sum.sine / count, .cosine = sum.cosine / count});
    }
}

void AverageTurn::apply(double* x, std::size_t stride) const {
    for (std::size_t i = 0; i < turns_.size(); ++i) {
        const auto [first, second] = rotation_.pair(i);
        const auto [sine, cosine] = turns_[i];
        double &a = x[first * stride], &b = x[second * stride];
        const double turned = a * cosine - b * sine;
        b = b * cosine + a * sine;
        a = turned;
    }
}

ExpectedQuery AverageTurn::expected(const QueryStatistics& statistics,
                                    Eigen::Index head,
                                    double scale) const {
    const Eigen::Index dim = statistics.mean.cols();
    std::vector<double> mean = rows_of(statistics.mean, head, 1);
    std::vector<double> covariance = rows_of(statistics.covariance, head * dim, dim);
    const auto channels = static_cast<std::size_t>(dim);
    apply(mean.data(), 1);
    for (std::size_t i = 0; i < channels; ++i)
        apply(covariance.data() + i * channels, 1);
    for (std::size_t i = 0; i < channels; ++i)
        apply(covariance.data() + i, channels);
    return {.linear = scaled(mean, scale), .quadratic = scaled(covariance, 0.5 * scale * scale)};
}

}  // namespace kvtape
