#pragma once

#include "policies/policy.hpp"

#include <span>

namespace kvtape {

/// Passes when every score is finite. Otherwise looks for the number in the view that spoiled them:
/// a format error that names tensor, layer, KV head and position.
void check_scores(const HeadView& head, std::span<const float> scores);

/// Passes when every key and everything recorded of the second pass is finite: for scores that are
/// maxima, in which a NaN could be lost.
void check_repetition(const HeadView& head);

/// Refuses the view because of a number in it that is not finite.
[[noreturn]] void refuse_not_finite(const HeadView& head);

}  // namespace kvtape
