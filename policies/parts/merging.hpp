#pragma once

#include "core/decision.hpp"
#include "policies/policy.hpp"

#include <span>
#include <vector>

namespace kvtape {

/// Merges `entries` of a head into others: `into[i]` takes in `entries[i]`, or nothing does where
/// it is -1. All are indices of entries of `head`. Each weighs by its score,
/// and all alike where their scores are 0. A merged value is the weighted mean; of a merged key,
/// direction and length are averaged apart, and a key whose directions cancel stays as it was.
/// Every merge starts from the rows of the view, so that their order does not matter.
Merges merged(const HeadView& head,
              std::span<const float> scores,
              std::span<const Position> entries,
              std::span<const Position> into);

}  // namespace kvtape
