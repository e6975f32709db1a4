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

/// The LagKV score of every entry in the judged partitions of `layout`, in order: of keys and of
/// values, each row is rescaled per channel by the range of the next partition, the standard
/// deviation over its channels goes through a softmax over its partition, and both are added, the
/// values' times `value_ratio`. A channel that is constant over the next partition counts as zero.
/// Numbers that are not finite are format errors.
std::vector<float> lag_scores(const HeadView& head, const LagLayout& layout, float value_ratio);

}  // namespace kvtape
