#pragma once

#include <array>
#include <cstdint>

namespace kvtape {

/// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011), from the Random123 library. What is drawn depends on (seed, stream, index)
/// alone, never on who asked before, so it is the same for any order of evaluation and any number
/// of threads.
class Philox {
  public:
    explicit Philox(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

    /// The same seed on another, independent stream.
    Philox with_stream(std::uint64_t stream) const { return Philox(seed_, stream); }

    /// Four 32-bit words: counter (index mod 2^32, index / 2^32, stream mod 2^32, stream / 2^32),
    /// key (seed mod 2^32, seed / 2^32).
    std::array<std::uint32_t, 4> block(std::uint64_t index) const;

    /// Uniform in (0, 1): (word + 0.5) / 2^32, where `index` counts single words.
    double uniform(std::uint64_t index) const;

    /// Uniform integer in [0, bound), bound > 0, by the high half of a 64-bit product.
    std::uint32_t below(std::uint64_t index, std::uint32_t bound) const;

    std::uint64_t seed() const { return seed_; }
    std::uint64_t stream() const { return stream_; }

  private:
    std::uint64_t seed_;
    std::uint64_t stream_;
};

}  // namespace kvtape
