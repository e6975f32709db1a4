#pragma once

#include "policies/policy.hpp"

#include <functional>
#include <span>
#include <vector>

namespace kvtape {

/// Takes the probabilities that one observed query, a row of `Observation::queries`, gives to the
/// entries up to its own position: each is `weights[i] * factor`. The weights are overwritten
/// afterwards.
using RowUse = std::function<void(Eigen::Index row, std::span<const float> weights, float factor)>;

/// Hands all rows to `use`, in order. Rows are normalised as `observed_attention` says.
void attention_rows(const HeadView& head, const Shape& shape, const RowUse& use);

/// The probability that each held entry gets from the observed queries, summed over them: one row
/// per query head of the group, float32, [group, held]. Where the voters are probes with keys of
/// their own, their tokens stand behind the held entries: [group, held + voters].
///
/// Where the observation brings the normaliser of its full rows, a probability is
/// exp(logit - normaliser). Otherwise the rows saw the held entries (and the voters' tokens) alone:
/// each is a softmax over the entries up to its own position. Equal keys get equal probabilities,
/// to the bit.
Matrix observed_attention(const HeadView& head, const Shape& shape);

/// The sum over the rows of `sums`, added in the order of the rows.
std::vector<float> sum_of_rows(const Matrix& sums);

}  // namespace kvtape
