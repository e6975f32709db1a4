#pragma once

#include "analyze/token_set.hpp"
#include "core/types.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// The smallest share of tokens that holds 95 % of what `mass` adds up to; none where that is
/// nothing.
std::optional<double> mass95(std::span<const double> mass);

/// Which tokens of one KV head could take which others in.
class MergePartners {
  public:
    /// Least max(0, cos of keys) * max(0, cos of values) of two that could merge.
    static constexpr float likeness = 0.5f;

    /// Over all tokens of keys and values [tokens, head_dim]. A row of zeros is like nothing.
    MergePartners(MatrixView keys, MatrixView values);

    /// Share of the tokens outside `kept` that are alike enough to one in it; none where nothing is
    /// outside. `kept` is over the first `tokens`.
    std::optional<double> mergeable(const TokenSet& kept, std::size_t tokens) const;

    /// Bit j of word i: whether the i-th of 64 tokens is alike enough to the j-th of 64 others.
    using Tile = std::array<std::uint64_t, 64>;

  private:
    /// Writes what the tokens from `row` on are to those from `column` on, and the other way round.
    void note(Eigen::Index row, Eigen::Index column, Tile alike);

    std::size_t words_;
    std::vector<std::uint64_t> partners_;  ///< [tokens, words], a bit for each partner
};

}  // namespace kvtape
