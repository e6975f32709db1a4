#include "trace/fletcher.hpp"

#include <algorithm>
#include <cstring>

namespace kvtape {
namespace {

constexpr std::uint64_t modulus = 65535;
constexpr std::size_t lanes = 16;
constexpr std::size_t most_steps = 256;  // keeps every lane below 2^32

/// Sums over words as they lie in memory. Swapping the bytes of a word multiplies it by 256 modulo
/// 65535, so the byte order is put right once, at the end.
struct Sums {
    std::uint64_t first = 0;   ///< sum of words
    std::uint64_t second = 0;  ///< sum of running sums
    bool any = false;          ///< a word was not zero

    void append(std::uint64_t words, std::uint64_t sum, std::uint64_t running) {
        second = (second + words * first + running) % modulus;
        first = (first + sum) % modulus;
        any = any || sum != 0;
    }
};

// Vector types of the machine's width: GCC 12 keeps the lanes of an array, or of a wider vector, in
// memory.
constexpr std::size_t half = lanes / 2;
using Words [[gnu::vector_size(half * sizeof(std::uint16_t))]] = std::uint16_t;
using Counts [[gnu::vector_size(half * sizeof(std::uint32_t))]] = std::uint32_t;

/// Half of the lanes.
struct Half {
    Counts plain{};
    Counts running{};

    void add(const std::byte* data) {
        Words words;
        std::memcpy(&words, data, sizeof words);
        plain += __builtin_convertvector(words, Counts);
        running += plain;
    }
};

/// Adds `steps * lanes` words. Lane l of step s is word `lanes * s + l`.
void add_steps(const std::byte* data, std::size_t steps, Sums& sums) {
    Half lower;
    Half upper;
    for (std::size_t step = 0; step < steps; ++step, data += 2 * sizeof(Words)) {
        lower.add(data);
        upper.add(data + sizeof(Words));
    }
    std::uint64_t sum = 0;
    std::uint64_t weighted = 0;
    const auto collect = [&](const Half& part, std::size_t first) {
        for (std::size_t i = 0; i < half; ++i) {
            sum += part.plain[i];
            weighted += std::uint64_t{lanes} * part.running[i] - (first + i) * part.plain[i];
        }
    };
    collect(lower, 0);
    collect(upper, half);
    sums.append(steps * lanes, sum, weighted);
}

/// HDF5 folds carries instead of dividing: a sum that is a multiple of 65535 ends as 65535, and as
/// 0 only when every word was 0.
std::uint32_t folded(std::uint64_t sum, bool any) {
    const std::uint64_t swapped = sum * 256 % modulus;
    return static_cast<std::uint32_t>(any && swapped == 0 ? modulus : swapped);
}

}  // namespace

std::uint32_t fletcher32(std::span<const std::byte> data) {
    Sums sums;
    while (data.size() >= 2 * lanes) {
        const std::size_t steps = std::min(most_steps, data.size() / (2 * lanes));
        add_steps(data.data(), steps, sums);
        data = data.subspan(steps * 2 * lanes);
    }
    while (!data.empty()) {
        std::uint16_t word = 0;
        const std::size_t bytes = std::min<std::size_t>(2, data.size());
        std::memcpy(&word, data.data(), bytes);
        sums.append(1, word, word);
        data = data.subspan(bytes);
    }
    return folded(sums.second, sums.any) << 16 | folded(sums.first, sums.any);
}

}  // namespace kvtape
