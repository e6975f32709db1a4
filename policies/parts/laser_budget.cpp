#include "policies/parts/laser_budget.hpp"

namespace kvtape {
namespace {

__extension__ using Wide = __int128;

}  // namespace

LaserBudget laser_budget(LaserMode mode,
                         const Limit& limit,
                         Position context_len,
                         Position block,
                         std::int32_t divisor) {
    // r S = tokens / shares
    const Wide tokens = limit.ratio ? Wide{limit.ratio->numerator} * context_len : limit.tokens;
    const Wide shares = limit.ratio ? limit.ratio->denominator : 1;
    LaserBudget budget{.block_budget = static_cast<std::int64_t>(tokens / shares)};
    if (mode == LaserMode::accumulate) {
        const Wide spread = Wide{2} * block + (Wide{divisor} - 2) * context_len;
        budget.block_budget =
            static_cast<std::int64_t>(tokens * divisor * block / (shares * spread));
    }
    budget.anchors = budget.window = budget.block_budget / divisor;
    budget.picks = budget.block_budget - budget.anchors - budget.window;
    return budget;
}

}  // namespace kvtape
