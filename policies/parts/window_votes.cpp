#include "policies/parts/window_votes.hpp"

#include "policies/parts/attention.hpp"

#include <algorithm>

namespace kvtape {
namespace {

std::vector<float> mean_of_rows(const Matrix& votes) {
    std::vector<float> mean = sum_of_rows(votes);
    for (float& value : mean)
        value /= static_cast<float>(votes.rows());
    return mean;
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
    Matrix votes = observed_attention(head, context.shape).leftCols(past);
    votes /= static_cast<float>(head.observed.positions.size());
    if (group == Group::before)
        return pooled(mean_of_rows(votes), pool, kernel);
    smooth_rows(votes, pool, kernel);
    return mean_of_rows(votes);
}

}  // namespace kvtape
