#pragma once

#include "core/types.hpp"

#include <span>

namespace kvtape::model {

/// Refuses, with a format error, logits of the token at `position` that hold NaN or infinity: what
/// overflows in `type` on the way ends there.
void expect_numbers(std::span<const float> logits, ElementType type, Position position);

}  // namespace kvtape::model
