#pragma once

#include "policies/parts/scored.hpp"

#include <span>
#include <vector>

namespace kvtape {

/// The entries of one KV head as EMS judges them.
struct EmsRanking {
    std::span<const float> scores = {};
    std::span<const Position> order = {};  ///< all entries, best first
    ByRule rule;                           ///< protected: not judged
};

/// What becomes of them, as ascending indices. Those that are nowhere are dropped.
struct EmsClasses {
    std::vector<Position> kept;
    std::vector<Position> centers;  ///< kept and not protected
    std::vector<Position> merging;  ///< looking for one that takes them in
};

/// How much of what gives way is worth merging: the best of it, until they and the kept ones hold
/// the share `rho` of the head's score, and at most `gamma` times as many as stay.
struct EmsWorth {
    double gamma = 4.0;
    double rho = 0.98;
};

/// The classes of a head that keeps `tokens` entries, the protected ones among them, of as many or
/// more.
EmsClasses classify(const EmsRanking& head, Position tokens, const EmsWorth& worth);

/// How many entries each head of a layer keeps when they share what `tokens` entries in each would
/// take. Scores are compared after scaling those of each head to add up to one; a head is sure of
/// its protected entries and of a fifth of `tokens`. Equal scores go to the first head.
std::vector<Position> shared_tokens(std::span<const EmsRanking> heads, Position tokens);

}  // namespace kvtape
