#pragma once

#include "model/backend.hpp"

namespace kvtape::model::cpu {

/// Causal attention with log-sum-exp and column sums in one pass over blocks of queries: the
/// probabilities of a block stay in cache while they are normalised, added to the columns and
/// multiplied with the values. Each row's result depends on its own entries alone, and columns grow
/// by one query at a time in ascending order, so bits depend neither on threads nor on how the
/// prompt was cut into chunks.
void attend(ElementType type, const Attention& attention, int threads);

}  // namespace kvtape::model::cpu
