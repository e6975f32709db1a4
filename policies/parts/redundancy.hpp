#pragma once

#include "core/types.hpp"

#include <span>
#include <vector>

namespace kvtape {

/// How alike the keys of one head are, block after block.
class SimilarKeys {
  public:
    /// For every key the mean, over all keys, of its cosine similarity to them. Its similarity to
    /// itself counts as zero, and so does, for every key i, that to the last other key which is
    /// more similar to it than `threshold`, or to the first key where there is none: the most
    /// recent of a group of similar keys is spared.
    ///
    /// The sums come from the sum of all directions in O(n d), and what is spared is taken off.
    /// Looking for that holds a tile of similarities at a time, compares no pair twice, and ends
    /// early where keys are alike. Where keys were added since the last call and others went, only
    /// new ones are compared, and those whose similar key went. `positions` [n] ascend and tell
    /// which keys are which; the threshold must be that of the calls before. The result is that of
    /// a fresh object.
    std::vector<float> mean_similarity(std::span<const Position> positions,
                                       MatrixView keys,
                                       float threshold);

  private:
    /// Row of the last similar key of each row; -1: none.
    std::vector<Eigen::Index> last_similar_keys(std::span<const Position> positions,
                                                const Matrix& units,
                                                float threshold) const;

    std::vector<Position> positions_;  ///< of the last call
    std::vector<Position> similar_;    ///< of the last similar key of each; -1: none
};

}  // namespace kvtape
