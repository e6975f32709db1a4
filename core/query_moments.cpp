#include "core/query_moments.hpp"

#include <algorithm>
#include <span>

namespace kvtape {
namespace {

/// Tokens whose products are added in one go over the sums, so that these are not read and written
/// for every token. Missing ones are zeros, which change nothing.
constexpr std::size_t run = 8;

}  // namespace

QueryMoments::QueryMoments(std::int32_t head_dim)
    : dim_(static_cast<std::size_t>(head_dim)),
      sums_(dim_),
      products_(dim_ * dim_) {}

void QueryMoments::add(const Turns& turns, MatrixView queries) {
    std::vector<double> rows(run * dim_);
    for (std::size_t begin = 0; begin < turns.tokens(); begin += run) {
        const std::size_t count = std::min(run, turns.tokens() - begin);
        std::fill(rows.begin(), rows.end(), 0.0);
        for (std::size_t r = 0; r < count; ++r) {
            const auto row = static_cast<Eigen::Index>(begin + r);
            turns.undo(begin + r,
                       {queries.data() + row * queries.outerStride(), dim_},
                       std::span(rows).subspan(r * dim_, dim_));
        }
        const double* x = rows.data();
        for (std::size_t i = 0; i < dim_; ++i) {
            for (std::size_t r = 0; r < run; ++r)
                sums_[i] += x[r * dim_ + i];
            double* products = products_.data() + i * dim_;
            for (std::size_t j = 0; j <= i; ++j) {
                double sum = products[j];
                for (std::size_t r = 0; r < run; ++r)
                    sum += x[r * dim_ + i] * x[r * dim_ + j];
                products[j] = sum;
            }
        }
        count_ += static_cast<std::int64_t>(count);
    }
}

std::vector<float> QueryMoments::mean() const {
    std::vector<float> mean(dim_);
    for (std::size_t i = 0; i < dim_ && count_ > 0; ++i)
        mean[i] = static_cast<float>(sums_[i] / static_cast<double>(count_));
    return mean;
}

std::vector<float> QueryMoments::covariance() const {
    std::vector<float> covariance(dim_ * dim_);
    if (count_ == 0)
        return covariance;
    const auto count = static_cast<double>(count_);
    for (std::size_t i = 0; i < dim_; ++i)
        for (std::size_t j = 0; j <= i; ++j) {
            const double centred =
                products_[i * dim_ + j] / count - (sums_[i] / count) * (sums_[j] / count);
            covariance[i * dim_ + j] = covariance[j * dim_ + i] = static_cast<float>(centred);
        }
    return covariance;
}

}  // namespace kvtape
