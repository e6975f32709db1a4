#pragma once

#include "core/types.hpp"

#include <vector>

namespace kvtape {

/// For every key the mean, over all keys, of its cosine similarity to them. Its similarity to
/// itself counts as zero, and so does, for every key i, that to the last other key which is more
/// similar to it than `threshold`, or to the first key where there is none: the most recent of a
/// group of similar keys is spared.
///
/// The sums come from the sum of all directions in O(n d), and what is spared is taken off. Looking
/// for that holds a tile of similarities at a time, compares no pair twice, and ends early where
/// keys are alike.
std::vector<float> mean_similarity(MatrixView keys, float threshold);

}  // namespace kvtape
