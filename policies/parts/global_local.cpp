#include "policies/parts/global_local.hpp"

#include "policies/parts/attention.hpp"
#include "policies/parts/finite.hpp"

#include <algorithm>

namespace kvtape {

GlobalLocal global_local(const HeadView& head,
                         const Shape& shape,
                         std::span<const float> absorbed,
                         Position queries,
                         const GlobalLocalOptions& options) {
    const Matrix votes = observed_attention(head, shape);
    Matrix sums = head.column_sums;
    const auto voters = static_cast<Position>(head.observed.positions.size());
    // Voters behind the context are not among the queries so far.
    if (!head.observed.logsumexp.empty()) {
        sums += votes;
        queries += voters;
    }
    const auto group = static_cast<float>(shape.group());
    GlobalLocal found{.global = sum_of_rows(sums), .scores = {}};
    for (std::size_t i = 0; i < found.global.size(); ++i)
        found.global[i] = found.global[i] / group + absorbed[i];
    std::vector<float> local = sum_of_rows(votes);
    check_scores(head, found.global);
    check_scores(head, local);
    if (options.pool)
        local = pooled(local, *options.pool, options.kernel);
    const auto alpha = static_cast<float>(options.alpha);
    found.scores.reserve(local.size());
    for (std::size_t i = 0; i < local.size(); ++i)
        found.scores.push_back(std::max(alpha * found.global[i] / static_cast<float>(queries),
                                        local[i] / (group * static_cast<float>(voters))));
    return found;
}

}  // namespace kvtape
