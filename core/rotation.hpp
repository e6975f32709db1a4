#pragma once

#include "core/exp.hpp"
#include "core/types.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// The rotary embedding that queries and keys went through: channel pair `i` of a token at position
/// `t` was turned by the angle `t * inv_freq[i]`.
struct Rotation {
    std::int32_t rotary_dim = 0;  ///< leading channels that turn; 0 where nothing is known
    bool interleaved = false;     ///< pairs are (2i, 2i + 1) instead of (i, i + rotary_dim / 2)
    std::vector<double> inv_freq = {};  ///< [rotary_dim / 2], scaling of the model included

    /// The two channels of a pair.
    struct Pair {
        std::size_t first = 0, second = 0;
    };
    Pair pair(std::size_t index) const {
        if (interleaved)
            return {2 * index, 2 * index + 1};
        return {index, index + inv_freq.size()};
    }
    /// Of the angle that a pair of a token at `position` was turned by. The bits are the same
    /// everywhere; the angle itself is rounded as a double.
    SineCosine turn(double position, std::size_t index) const;
};

/// The turns of a run of tokens, for undoing them.
class Turns {
  public:
    Turns(const Rotation& rotation, std::span<const Position> positions);

    /// `before` becomes what `row`, of the token at `positions[token]`, was before it was turned.
    void undo(std::size_t token, std::span<const float> row, std::span<double> before) const;
    std::size_t tokens() const { return tokens_; }

  private:
    Rotation rotation_;
    std::size_t tokens_;
    std::vector<SineCosine> turns_;  ///< [tokens, pairs]
};

}  // namespace kvtape
