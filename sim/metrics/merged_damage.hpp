#pragma once

#include "core/types.hpp"
#include "sim/metrics/output_error.hpp"

#include <optional>
#include <span>
#include <vector>

namespace kvtape {

/// Entries of one KV head that hold a merged key and value.
struct MergedRows {
    std::vector<Position> positions;  ///< ascending
    Matrix keys, values;              ///< [positions, head_dim]
};

/// The probes of one query head.
struct HeadProbes {
    MatrixView weights;              ///< [probes, T] of sim/probes.hpp
    std::span<const float> largest;  ///< logit of every probe
    Matrix queries;                  ///< [probes, head_dim], times the softmax scale
};

/// The output error where entries were merged.
struct MergedDamage {
    double output_error_median = 0.0;
    double output_error_p95 = 0.0;
    /// After the output projection; only where norms were given.
    double projected_error_median = 0.0, projected_error_p95 = 0.0;
};

/// The error of `measure_damage` when the cache holds the entries of `kept` (a flag for each token;
/// those behind them are held too) with `merged` keys and values: a merged entry is weighted by its
/// own logit, and the weights of everything held are scaled to add up to one. `positions` are those
/// of the probes, which see as many keys as the layer's sliding `window` shows them; `norms` are
/// those of the query heads, or empty.
MergedDamage measure_merged(std::span<const HeadProbes> probes,
                            std::span<const Position> positions,
                            std::optional<Position> window,
                            MatrixView values,
                            std::span<const char> kept,
                            const MergedRows& merged,
                            std::span<const OutputNorm> norms = {});

}  // namespace kvtape
