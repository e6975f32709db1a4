#pragma once

#include "model/backend.hpp"

namespace kvtape::model {

/// `Backend::attend` on the CPU. Every pointer of `attention` is to float32 in host memory.
///
/// One pass over tiles of queries: the logits of a tile over all its keys stay in cache, are turned
/// into probabilities there, and give the outputs, the log-sum-exp and the column sums. Memory is
/// O(tile * context) per thread. A row's result does not depend on threads, on the other rows of
/// the call or on how the prompt was cut: its logits are single chains, its normaliser covers its
/// own keys from the first visible one, its output adds blocks of keys that begin at fixed
/// positions, and each column adds its queries in ascending order.
void attend_cpu(const Attention& attention, int threads);

}  // namespace kvtape::model
