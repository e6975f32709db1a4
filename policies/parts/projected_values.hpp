#pragma once

#include "policies/policy.hpp"

namespace kvtape {

/// How a vector is measured: the sum of its magnitudes, or its Euclidean length.
enum class Norm { l1, l2 };

/// ||W_o^h v_j|| for the query heads of one KV head and the entries it holds: [group, held]. W_o^h
/// are the columns of the output projection that read query head h.
Matrix projected_norms(const LayerView& layer, const HeadView& head, const Shape& shape, Norm norm);

}  // namespace kvtape
