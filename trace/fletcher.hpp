#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvtape {

/// The checksum HDF5's `fletcher32` filter appends to a chunk (little endian): Fletcher's sums over
/// big-endian 16-bit words modulo 65535, the second sum in the upper half; an odd last byte counts
/// as the upper half of a word.
std::uint32_t fletcher32(std::span<const std::byte> data);

}  // namespace kvtape
