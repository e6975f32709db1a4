#pragma once

#include "policies/policy.hpp"

#include <span>

namespace kvtape {

/// Passes when every score is finite. Otherwise looks for the number in the view that spoiled them:
/// a format error that names tensor, layer, KV head and position.
void check_scores(const HeadView& head, std::span<const float> scores);

/// Refuses the view because of a number in it that is not finite.
[[noreturn]] void refuse_not_finite(const HeadView& head);

}  // namespace kvtape
