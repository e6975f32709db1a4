#include "sim/autopsy.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape {
namespace {

std::optional<double> lowest_kept(std::span<const std::int32_t> evicted_at,
                                  std::span<const float> scores) {
    std::optional<double> lowest;
    for (std::size_t t = 0; t < scores.size(); ++t)
        if (evicted_at[t] < 0 && std::isfinite(scores[t]))
            lowest = std::min(lowest.value_or(INFINITY), static_cast<double>(scores[t]));
    return lowest;
}

std::int64_t rank_of(std::size_t token, std::span<const float> scores) {
    std::int64_t rank = 1;
    for (std::size_t t = 0; t < scores.size(); ++t)
        rank += scores[t] > scores[token] || (scores[t] == scores[token] && t < token) ? 1 : 0;
    return rank;
}

}  // namespace

std::vector<LostToken> autopsy(std::span<const Position> needle,
                               std::span<const std::int32_t> evicted_at,
                               std::span<const float> scores) {
    std::vector<LostToken> lost;
    std::optional<double> cut_off;
    for (const Position position : needle) {
        const auto token = static_cast<std::size_t>(position);
        if (evicted_at[token] < 0)
            continue;
        if (lost.empty())
            cut_off = lowest_kept(evicted_at, scores);
        LostToken one{.position = position,
                      .block = evicted_at[token],
                      .score = {},
                      .cut_off = cut_off,
                      .rank = {}};
        if (!std::isnan(scores[token])) {
            one.score = static_cast<double>(scores[token]);
            one.rank = rank_of(token, scores);
        }
        lost.push_back(one);
    }
    return lost;
}

}  // namespace kvtape
