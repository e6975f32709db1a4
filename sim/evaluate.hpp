#pragma once

#include "sim/schedule.hpp"
#include "trace/decisions.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// One KV head of one sequence under one result: a row of recall.csv.
struct HeadResult {
    std::int32_t layer = 0;
    std::int32_t kv_head = 0;
    std::int64_t tokens = 0;  ///< that the last decision before the answer could keep
    std::int64_t kept = 0;
    std::int64_t kept_bytes = 0;
    std::int64_t needle_tokens = 0;
    std::int64_t needle_kept = 0;
    double needle_weight = 0.0;  ///< m of metrics.md, section 1
    /// The share of m that falls on kept tokens. Undefined without a needle, or where nobody
    /// measured it.
    std::optional<double> needle_read;
    /// Undefined where there is no needle, or no probe.
    std::optional<double> mass_kept, output_error_median, output_error_p95;

    std::optional<double> needle_recall() const;
};

/// What is evaluated at once: results that differ by their budget alone. What counts is what they
/// keep after the last decision before the first generated token.
struct Chain {
    std::size_t results = 0;
    Schedule schedule;
    /// One layer of one sequence under one result. Merged rows are as wide as those of the trace.
    std::function<LayerFate(std::size_t result, std::int32_t sequence, std::int32_t layer)> fate;
};

/// Evaluates every result of every chain over one layer of one sequence. Queries, keys and values
/// are read once, and attention is held for as many KV heads at a time as there are threads.
/// Returned: [chain][result][kv_head].
std::vector<std::vector<std::vector<HeadResult>>> evaluate_layer(const Trace& trace,
                                                                 std::int32_t sequence,
                                                                 std::int32_t layer,
                                                                 std::span<const Chain> chains,
                                                                 LayerData& data,
                                                                 int threads);

}  // namespace kvtape
