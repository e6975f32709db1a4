#include "policies/parts/window_votes.hpp"

#include "policies/parts/attention.hpp"

#include <algorithm>

namespace kvtape {
namespace {

std::vector<float> reduced(const Matrix& votes, WindowVotes::Reduce reduce) {
    if (reduce == WindowVotes::Reduce::max) {
        const Eigen::RowVectorXf largest = votes.colwise().maxCoeff();
        return {largest.data(), largest.data() + largest.size()};
    }
    std::vector<float> total = sum_of_rows(votes);
    if (reduce == WindowVotes::Reduce::mean)
        for (float& value : total)
            value /= static_cast<float>(votes.rows());
    return total;
}

void smooth_rows(Matrix& votes, Pool pool, std::int32_t kernel) {
    for (Eigen::Index row = 0; row < votes.rows(); ++row) {
        float* begin = votes.data() + row * votes.cols();
        const Scores smoothed =
            pooled({begin, static_cast<std::size_t>(votes.cols())}, pool, kernel);
        std::copy(smoothed.begin(), smoothed.end(), begin);
    }
}

}  // namespace

Scores WindowVotes::score(const HeadView& head, const SessionContext& context) const {
    const Eigen::Index past = std::max<Eigen::Index>(0, std::ssize(head.positions) - window);
    if (past == 0)
        return {};
    Matrix of_heads = observed_attention(head, context.shape).leftCols(past);
    if (votes == Votes::mean)
        of_heads /= static_cast<float>(head.observed.positions.size());
    if (group == Group::before)
        return pooled(reduced(of_heads, reduce), pool, kernel);
    smooth_rows(of_heads, pool, kernel);
    return reduced(of_heads, reduce);
}

}  // namespace kvtape
