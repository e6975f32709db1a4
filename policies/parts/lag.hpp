#pragma once

#include "policies/policy.hpp"

#include <span>
#include <vector>

namespace kvtape {

/// How the entries of one head fall into partitions of `lag`: `partitions` of them stand between
/// the settled entries and the sliding window and are each judged against their successor.
struct LagLayout {
    Position base = 0;  ///< entries that are settled: sinks and earlier survivors
    Position lag = 0;
    Position partitions = 0;  ///< 0 when too few entries are held to judge any
    Position window = 0;  ///< the latest entries, always kept: the last full partition and the rest

    Position end() const { return base + partitions * lag; }
};
LagLayout lag_layout(Position held, Position base, Position lag);

/// What a partition is judged by.
enum class LagScore {
    lag,    ///< how its rows stand out against the range of the next partition
    local,  ///< the same against its own range
    l2,     ///< short keys; values play no part
};

/// The score of every entry in the judged partitions of `layout`, in order. `lag` and `local`: of
/// keys and of values, each row is rescaled per channel by the range of the reference partition,
/// the standard deviation over its channels goes through a softmax over its partition, and both are
/// added, the values' times `value_ratio`. A channel that is constant over the reference counts as
/// zero. `l2`: minus the norm of the key. Numbers that are not finite are format errors.
std::vector<float> lag_scores(const HeadView& head,
                              const LagLayout& layout,
                              float value_ratio,
                              LagScore score = LagScore::lag);

}  // namespace kvtape
