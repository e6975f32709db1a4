#include "policies/parts/pooling.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace kvtape {
namespace {

/// out[i] = combine(out[i], scores[i + offset]) wherever that neighbour exists.
template <typename Combine>
void slide(std::span<const float> scores,
           std::ptrdiff_t offset,
           std::span<float> out,
           const Combine& combine) {
    const std::ptrdiff_t begin = std::max<std::ptrdiff_t>(0, -offset);
    const std::ptrdiff_t end = std::ssize(scores) - std::max<std::ptrdiff_t>(0, offset);
    for (std::ptrdiff_t i = begin; i < end; ++i) {
        float& value = out[static_cast<std::size_t>(i)];
        value = combine(value, scores[static_cast<std::size_t>(i + offset)]);
    }
}

}  // namespace

std::vector<float> pooled(std::span<const float> scores, Pool pool, std::int32_t kernel) {
    const bool average = pool == Pool::avg;
    std::vector<float> out(scores.size(), average ? 0.0f : -std::numeric_limits<float>::infinity());
    for (std::ptrdiff_t offset = -(kernel / 2); offset <= kernel / 2; ++offset) {
        if (average)
            slide(scores, offset, out, [](float a, float b) { return a + b; });
        else
            slide(scores, offset, out, [](float a, float b) { return a < b ? b : a; });
    }
    if (average)
        for (float& value : out)
            value /= static_cast<float>(kernel);
    return out;
}

}  // namespace kvtape
