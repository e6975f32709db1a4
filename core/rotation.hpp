#pragma once

#include <cstdint>
#include <vector>

namespace kvtape {

/// The rotary embedding that queries and keys went through: channel pair `i` of a token at position
/// `t` was turned by the angle `t * inv_freq[i]`.
struct Rotation {
    std::int32_t rotary_dim = 0;   ///< leading channels that turn; 0 where nothing is known
    bool interleaved = false;      ///< pairs are (2i, 2i + 1) instead of (i, i + rotary_dim / 2)
    std::vector<double> inv_freq;  ///< [rotary_dim / 2], scaling of the model included
};

}  // namespace kvtape
