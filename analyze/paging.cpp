#include "analyze/paging.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace kvtape {
namespace {

/// How many tokens of each page are kept.
std::vector<std::size_t> counts_of(std::span<const char> kept, std::size_t block) {
    std::vector<std::size_t> counts;
    for (std::size_t begin = 0; begin < kept.size(); begin += block) {
        std::size_t count = 0;
        for (const char flag : kept.subspan(begin, std::min(block, kept.size() - begin)))
            count += flag != 0 ? 1u : 0u;
        counts.push_back(count);
    }
    return counts;
}

}  // namespace

Kept held_pages(std::span<const char> kept, std::size_t block) {
    Kept held;
    held.reserve(kept.size());
    for (const std::size_t count : counts_of(kept, block))
        held.resize(std::min(held.size() + block, kept.size()), count > 0 ? 1 : 0);
    return held;
}

Kept chosen_pages(std::span<const char> kept, std::size_t block) {
    const std::vector<std::size_t> counts = counts_of(kept, block);
    std::size_t left = std::accumulate(counts.begin(), counts.end(), std::size_t{0});
    std::vector<std::size_t> order(counts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return counts[a] > counts[b];
    });
    Kept chosen(kept.size(), 0);
    for (std::size_t place = 0; place < order.size() && counts[order[place]] > 0; ++place) {
        const std::size_t begin = order[place] * block;
        const std::size_t end = std::min(begin + block, kept.size());
        if (place > 0 && end - begin > left)
            continue;
        std::fill(chosen.begin() + static_cast<std::ptrdiff_t>(begin),
                  chosen.begin() + static_cast<std::ptrdiff_t>(end),
                  static_cast<char>(1));
        left -= std::min(left, end - begin);
    }
    return chosen;
}

}  // namespace kvtape
