#pragma once

#include "core/budget.hpp"
#include "core/types.hpp"

#include <cstdint>

namespace kvtape {

/// How LASER-KV takes the context in blocks.
enum class LaserMode {
    accumulate,  ///< every block adds its picks to the cache, which grows
    recursive,   ///< every block picks anew from all that is held, whose size is bounded
};

/// The block budget B of LASER-KV and its parts.
struct LaserBudget {
    std::int64_t block_budget = 0;  ///< B
    std::int64_t anchors = 0;       ///< floor(B / divisor) first tokens of the context
    std::int64_t window = 0;        ///< floor(B / divisor) last tokens of a block
    std::int64_t picks = 0;         ///< the rest of B: chosen after every block
};

/// From the kept ratio r of a context of S tokens in blocks of b (a limit of N tokens means N / S),
/// exactly: recursive, B = floor(r S); accumulate, B = floor(r S / (2 / n + (1 - 2 / n) S / b)) for
/// the divisor n, so that anchors, window and the picks of S / b blocks are r S. For n = 4 this is
/// the authors' 2 r b S / (b + S).
LaserBudget laser_budget(
    LaserMode mode, const Limit& limit, Position context_len, Position block, std::int32_t divisor);

}  // namespace kvtape
