#pragma once

#include "policies/policy.hpp"

#include <span>
#include <vector>

namespace kvtape {

/// How alike two entries are: the product of the cosine of their keys and the cosine of their
/// values. A cosine with a zero vector is 0.
struct Likeness {
    double least = 0.5;    ///< what is less alike is not alike at all
    bool literal = false;  ///< cosines below zero count as they are, and as 0 otherwise
};

/// For each of `entries` the one of `centers` that it is most alike, the first of equal ones, or -1
/// where none is alike. All are indices of entries of `head`. Memory: the rows of the
/// centers once more, and a tile of cosines.
std::vector<Position> most_alike(const HeadView& head,
                                 std::span<const Position> entries,
                                 std::span<const Position> centers,
                                 const Likeness& likeness);

}  // namespace kvtape
