#pragma once

#include "core/decision.hpp"
#include "policies/policy.hpp"

#include <span>

namespace kvtape {

/// The keys of a head before rotary embedding, [held, head_dim].
Matrix unturned_keys(const HeadView& head, const Rotation& rotation);

/// Turns a key, [head_dim], `by` positions further.
void turn_key(const Rotation& rotation, Position by, std::span<float> key);

/// Applies rotary embedding to merged keys, each at the position of the entry it belongs to.
void turn_keys(Merges& merges, const Rotation& rotation);

}  // namespace kvtape
