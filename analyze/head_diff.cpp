#include "analyze/head_diff.hpp"

#include "analyze/kendall.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace kvtape {
namespace {

constexpr Position never = std::numeric_limits<Position>::max();

std::size_t at(Position token) {
    return static_cast<std::size_t>(token);
}

/// How many tokens were through when `token` left the cache; `never` when it stayed.
Position leaves_at(const HeadFate& fate, Position token) {
    const std::int32_t block = fate.evicted_at[at(token)];
    return block < 0 ? never : fate.blocks[static_cast<std::size_t>(block)].end;
}

bool holds(const HeadFate& fate, Position token, Position moment) {
    return leaves_at(fate, token) > moment;
}

/// The end of the first block with more than `token` tokens through that ends at `from` or later.
Position first_end(std::span<const Block> blocks, Position token, Position from) {
    const Position least = std::max(from, token + 1);
    const auto found =
        std::lower_bound(blocks.begin(), blocks.end(), least, [](const Block& block, Position end) {
            return block.end < end;
        });
    return found == blocks.end() ? never : found->end;
}

/// When the sides first disagree about `token`: the end of a block of either side.
Position parts_at(const HeadFate& a, const HeadFate& b, Position token) {
    const Position in_a = leaves_at(a, token), in_b = leaves_at(b, token);
    if (in_a == in_b)
        return never;
    const Position from = std::min(in_a, in_b);
    const Position moment =
        std::min(first_end(a.blocks, token, from), first_end(b.blocks, token, from));
    return moment < std::max(in_a, in_b) ? moment : never;
}

std::int32_t block_with(std::span<const Block> blocks, Position moment) {
    const auto found = std::find_if(
        blocks.begin(), blocks.end(), [&](const Block& block) { return block.end >= moment; });
    return found == blocks.end() ? -1 : static_cast<std::int32_t>(found - blocks.begin());
}

SetSizes sizes(const std::vector<Keeper>& keeper) {
    SetSizes sizes;
    for (const Keeper one : keeper) {
        sizes.a += one == Keeper::only_a || one == Keeper::both ? 1 : 0;
        sizes.b += one == Keeper::only_b || one == Keeper::both ? 1 : 0;
        sizes.both += one == Keeper::both ? 1 : 0;
    }
    return sizes;
}

std::vector<TokenRange> ranges_of(const std::vector<Keeper>& keeper, Keeper wanted) {
    std::vector<TokenRange> ranges;
    for (Position token = 0; token < std::ssize(keeper); ++token) {
        if (keeper[at(token)] != wanted)
            continue;
        if (ranges.empty() || ranges.back().end != token)
            ranges.push_back({token, token});
        ++ranges.back().end;
    }
    return ranges;
}

/// The score that all `tokens` share; NaN when they do not, or have none.
float shared_score(std::span<const float> scores, const std::vector<Position>& tokens) {
    for (const Position token : tokens)
        if (scores[at(token)] != scores[at(tokens.front())])
            return std::numeric_limits<float>::quiet_NaN();
    return scores[at(tokens.front())];
}

/// Whether no token that stayed longest among the scored ones scores less than `cut`.
bool is_cut(const HeadFate& fate, float cut) {
    for (Position token = 0; token < std::ssize(fate.scores); ++token)
        if (leaves_at(fate, token) == never && fate.scores[at(token)] < cut)
            return false;
    return true;
}

/// Whether tokens that all score alike, on the edge of what is kept, have merely changed places.
bool differs_in_tie_only(const HeadFate& a,
                         const HeadFate& b,
                         const std::vector<Position>& parting) {
    if (parting.empty() || a.scores.empty() || b.scores.empty())
        return false;
    const float cut_a = shared_score(a.scores, parting), cut_b = shared_score(b.scores, parting);
    if (!std::isfinite(cut_a) || !std::isfinite(cut_b) || !is_cut(a, cut_a) || !is_cut(b, cut_b))
        return false;
    std::vector<Position> left_a, left_b;
    for (const Position token : parting) {
        left_a.push_back(leaves_at(a, token));
        left_b.push_back(leaves_at(b, token));
    }
    std::sort(left_a.begin(), left_a.end());
    std::sort(left_b.begin(), left_b.end());
    return left_a == left_b;
}

void count_needle(HeadDiff& diff,
                  const std::vector<Keeper>& keeper,
                  std::span<const Position> needle) {
    for (const Position token : needle) {
        if (token >= std::ssize(keeper))
            continue;
        const Keeper one = keeper[at(token)];
        ++diff.needle_tokens;
        diff.needle_a += one == Keeper::only_a || one == Keeper::both ? 1 : 0;
        diff.needle_b += one == Keeper::only_b || one == Keeper::both ? 1 : 0;
        diff.needle_lost += one == Keeper::only_a ? 1 : 0;
        diff.needle_gained += one == Keeper::only_b ? 1 : 0;
    }
}

}  // namespace

std::int64_t tokens_in(std::span<const TokenRange> ranges) {
    std::int64_t count = 0;
    for (const TokenRange& range : ranges)
        count += range.end - range.begin;
    return count;
}

std::vector<Keeper> keepers(const HeadFate& a, const HeadFate& b, Position moment) {
    std::vector<Keeper> keeper(at(moment), Keeper::neither);
    for (Position token = 0; token < moment; ++token) {
        const bool in_a = holds(a, token, moment), in_b = holds(b, token, moment);
        if (in_a || in_b)
            keeper[at(token)] = !in_b ? Keeper::only_a : !in_a ? Keeper::only_b : Keeper::both;
    }
    return keeper;
}

double SetSizes::jaccard() const {
    const std::int64_t united = a + b - both;
    return united == 0 ? 1.0 : static_cast<double>(both) / static_cast<double>(united);
}

double SetSizes::overlap() const {
    const std::int64_t smaller = std::min(a, b);
    if (smaller == 0)
        return a == b ? 1.0 : 0.0;
    return static_cast<double>(both) / static_cast<double>(smaller);
}

HeadDiff compare_heads(const HeadFate& a,
                       const HeadFate& b,
                       Position moment,
                       std::span<const Position> needle) {
    HeadDiff diff;
    const auto tokens = static_cast<Position>(a.evicted_at.size());
    const std::vector<Keeper> keeper = keepers(a, b, moment);
    diff.kept = sizes(keeper);
    diff.left = sizes(keepers(a, b, tokens));
    diff.only_a = ranges_of(keeper, Keeper::only_a);
    diff.only_b = ranges_of(keeper, Keeper::only_b);
    count_needle(diff, keeper, needle);

    std::vector<Position> parting;
    Position first = never;
    std::int64_t merged_elsewhere = 0;
    for (Position token = 0; token < tokens; ++token) {
        const Position parted = parts_at(a, b, token);
        first = std::min(first, parted);
        if (parted != never)
            parting.push_back(token);
        const bool same = a.merged_into[at(token)] == b.merged_into[at(token)];
        diff.merged_differently += same ? 0 : 1;
        merged_elsewhere += same || parted != never ? 0 : 1;
    }
    if (first != never) {
        diff.part_at = first;
        diff.part_block_a = block_with(a.blocks, first);
        diff.part_block_b = block_with(b.blocks, first);
    }
    diff.tie_only = merged_elsewhere == 0 && differs_in_tie_only(a, b, parting);
    if (!a.scores.empty() && !b.scores.empty())
        diff.kendall_tau = kendall_tau_b(a.scores, b.scores);
    return diff;
}

}  // namespace kvtape
