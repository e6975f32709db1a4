#pragma once

#include "policies/parts/pooling.hpp"
#include "policies/policy.hpp"

#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// How the score is made, besides its formula.
struct GlobalLocalOptions {
    double alpha = 1.0;                       ///< factor on the global term
    std::optional<Pool> pool = std::nullopt;  ///< smooths the local term over `kernel` neighbours
    std::int32_t kernel = 7;
};

/// What queries made of the entries of a KV head, means over the query heads of its group.
struct GlobalLocal {
    std::vector<float> global;  ///< attention of all queries so far
    std::vector<float> scores;
};

/// The Global-Local score of EMS: s[j] = max(global[j] / queries, local[j] / voters), of the
/// attention of all queries so far and that of the last ones, the voters of `head`. Rows of
/// attention add up to one, so that this is the mean-aligned maximum up to one factor for all
/// entries. `absorbed` is attention that entries had from elsewhere and `queries` the number of
/// those in the column sums of `head`; voters behind the context are counted in.
GlobalLocal global_local(const HeadView& head,
                         const Shape& shape,
                         std::span<const float> absorbed,
                         Position queries,
                         const GlobalLocalOptions& options);

}  // namespace kvtape
