#pragma once

#include "core/types.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// Tokens `[begin, end)`.
struct TokenRange {
    Position begin = 0;
    Position end = 0;
    bool operator==(const TokenRange&) const = default;
};

/// Number of tokens in all of them.
std::int64_t tokens_in(std::span<const TokenRange> ranges);

/// What one side did with the tokens of one KV head: its rows of a decision file.
struct HeadFate {
    std::span<const std::int32_t> evicted_at;
    std::span<const std::int32_t> merged_into;
    std::span<const float> scores;  ///< empty when not stored
    std::span<const Block> blocks;
};

/// Who holds a token.
enum class Keeper : std::uint8_t { neither, only_a, only_b, both };

/// For every token before `moment` (a number of tokens), who holds it once that many are through.
std::vector<Keeper> keepers(const HeadFate& a, const HeadFate& b, Position moment);

/// Two kept sets by size. Overlap coefficient: shared tokens over the smaller set. Two empty sets
/// are alike: both measures are 1; with one empty set both are 0.
struct SetSizes {
    std::int64_t a = 0, b = 0, both = 0;

    double jaccard() const;
    double overlap() const;
};

/// How the decisions of two sides about one KV head differ (metrics.md, section 5).
struct HeadDiff {
    std::int32_t layer = 0;
    std::int32_t head = 0;
    SetSizes kept;                           ///< at the moment of comparison
    SetSizes left;                           ///< at the end of the sequence
    std::vector<TokenRange> only_a, only_b;  ///< at the moment of comparison, ascending
    std::int64_t needle_tokens = 0, needle_a = 0, needle_b = 0;  ///< held at that moment
    std::int64_t needle_lost = 0;    ///< needle tokens that A holds and B does not
    std::int64_t needle_gained = 0;  ///< needle tokens that B holds and A does not
    /// Tokens whose absorbing entry differs.
    std::int64_t merged_differently = 0;
    /// Tokens that both hold at the moment of comparison, with other keys or values. A difference
    /// between caches, and none between decisions.
    std::int64_t changed_differently = 0;
    /// Tokens in the sequence when the two caches first hold different ones, and the blocks of
    /// either side that contain that moment. None where they never do.
    std::optional<Position> part_at;
    std::int32_t part_block_a = -1, part_block_b = -1;
    /// They differ, but only inside a tie of equal scores at the cut.
    bool tie_only = false;
    std::optional<double> kendall_tau;

    /// The same fate for every token, or another one inside a tie only.
    bool identical() const { return tie_only || (!part_at && merged_differently == 0); }
};

/// Compares two sides of one head at `moment`; `needle` are ascending positions. Blocks of the two
/// sides may be cut differently: what counts is how many tokens were through when a token left.
/// Whether a difference lies inside a tie can be told where both sides stored scores.
HeadDiff compare_heads(const HeadFate& a,
                       const HeadFate& b,
                       Position moment,
                       std::span<const Position> needle);

}  // namespace kvtape
