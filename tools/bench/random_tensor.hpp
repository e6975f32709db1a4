#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvtape::bench {

/// Numbers in [-1, 1), the same for the same stream.
std::vector<float> random_tensor(std::size_t count, std::uint64_t stream, int threads);

}  // namespace kvtape::bench
