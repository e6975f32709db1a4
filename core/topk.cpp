#include "core/topk.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>

namespace kvtape {
namespace {

/// A key whose ascending order is "score descending, index ascending". Unique for every index.
std::uint64_t packed(float score, std::size_t index) {
    if (std::isnan(score))
        throw internal_error("selecting tokens: the score of entry " + std::to_string(index) +
                             " is not a number");
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // -0 and +0 are equal
    const std::uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return static_cast<std::uint64_t>(~ascending) << 32 | static_cast<std::uint32_t>(index);
}

std::vector<std::uint64_t> packed_keys(std::span<const float> scores) {
    std::vector<std::uint64_t> keys(scores.size());
    for (std::size_t i = 0; i < scores.size(); ++i)
        keys[i] = packed(scores[i], i);
    return keys;
}

Position index_of(std::uint64_t key) {
    return static_cast<Position>(static_cast<std::uint32_t>(key));
}

/// Short lists: the place of each key is the number of keys before it.
std::vector<Position> rank_by_counting(std::span<const float> scores) {
    const std::vector<std::uint64_t> keys = packed_keys(scores);
    std::vector<std::uint32_t> worse(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i)
        worse[i] = static_cast<std::uint32_t>(keys[i] >> 32);
    std::vector<Position> order(keys.size());
    for (std::size_t i = 0; i < worse.size(); ++i) {
        std::uint32_t before = 0;
        for (std::size_t j = 0; j < i; ++j)
            before += worse[j] <= worse[i] ? 1u : 0u;
        for (std::size_t j = i + 1; j < worse.size(); ++j)
            before += worse[j] < worse[i] ? 1u : 0u;
        order[before] = static_cast<Position>(i);
    }
    return order;
}

/// Sorts keys that come in ascending index. Long lists by radix: three stable passes over 11 bits
/// of the score each, which leave equal scores in the order of their indices.
void sort_by_score(std::vector<std::uint64_t>& keys) {
    constexpr std::size_t worthwhile = 2048;
    if (keys.size() < worthwhile) {
        std::sort(keys.begin(), keys.end());
        return;
    }
    constexpr int bits = 11;
    constexpr std::size_t buckets = std::size_t{1} << bits;
    std::vector<std::uint64_t> sorted(keys.size());
    for (int shift = 32; shift < 64; shift += bits) {
        std::array<std::size_t, buckets> next{};
        const auto bucket = [shift](std::uint64_t key) { return key >> shift & (buckets - 1); };
        for (const std::uint64_t key : keys)
            ++next[bucket(key)];
        std::exclusive_scan(next.begin(), next.end(), next.begin(), std::size_t{0});
        for (const std::uint64_t key : keys)
            sorted[next[bucket(key)]++] = key;
        keys.swap(sorted);
    }
}

}  // namespace

std::vector<Position> select_top(std::span<const float> scores, std::ptrdiff_t count) {
    std::vector<std::uint64_t> keys = packed_keys(scores);
    const auto kept = std::clamp<std::ptrdiff_t>(count, 0, std::ssize(keys));
    if (kept > 0 && kept < std::ssize(keys))
        std::nth_element(keys.begin(), keys.begin() + kept - 1, keys.end());
    std::vector<Position> best(static_cast<std::size_t>(kept));
    std::transform(keys.begin(), keys.begin() + kept, best.begin(), index_of);
    std::sort(best.begin(), best.end());
    return best;
}

std::vector<Position> rank(std::span<const float> scores) {
    constexpr std::size_t short_list = 256;
    if (scores.size() <= short_list)
        return rank_by_counting(scores);
    std::vector<std::uint64_t> keys = packed_keys(scores);
    sort_by_score(keys);
    std::vector<Position> order(keys.size());
    std::transform(keys.begin(), keys.end(), order.begin(), index_of);
    return order;
}

std::vector<Position> places(std::span<const Position> order) {
    std::vector<Position> place(order.size());
    for (std::size_t i = 0; i < order.size(); ++i)
        place[static_cast<std::size_t>(order[i])] = static_cast<Position>(i);
    return place;
}

}  // namespace kvtape
