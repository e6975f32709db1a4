#pragma once

#include "core/types.hpp"
#include "sim/metrics/output_error.hpp"
#include "sim/probes.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// Kept sets of one KV head that grow with the budget. `survives_from[t]` is the index of the
/// smallest of `budgets` kept sets that holds context token t, or `budgets` when none does.
struct NestedSets {
    std::int32_t budgets = 0;
    std::vector<std::int32_t> survives_from;  ///< [context_len]
};

/// What evicting costs one KV head, per budget (metrics.md, section 4), over every probe of every
/// query head of the group.
struct Damage {
    std::vector<double> mass_kept;            ///< mean over probes of the full-run probability kept
    std::vector<double> output_error_median;  ///< of ||o - o_S|| / ||o||, o_S renormalised on S
    std::vector<double> output_error_p95;
    /// The same after the output projection; empty unless norms were given.
    std::vector<double> projected_error_median, projected_error_p95;
};

/// All budgets from one pass: values are added up class by class, a class being the tokens that
/// appear first at the same budget, so that many budgets cost little more than one. Tokens behind
/// the context are always kept. At a budget that keeps everything the mass is exactly 1 and the
/// error exactly 0. `attention` holds the weights [probes, T] of each query head (sim/probes.hpp);
/// `values` is [T, head_dim]. One `Damage` for each of `parts`, rows of the probes that are not
/// empty. `norms` are those of the query heads, or empty.
std::vector<Damage> measure_damage(std::span<const MatrixView> attention,
                                   MatrixView values,
                                   const NestedSets& sets,
                                   std::span<const RowRange> parts,
                                   std::span<const OutputNorm> norms);

}  // namespace kvtape
