#pragma once

#include "sim/bootstrap.hpp"
#include "sim/evaluate.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// The heads of one sequence under one result, added up (metrics.md, sections 1, 4 and 7).
struct SequenceSummary {
    std::string task;
    std::int64_t tokens = 0, kept = 0;  ///< over layers and KV heads
    std::int64_t kept_bytes = 0, full_bytes = 0;
    std::optional<double> needle_recall;  ///< mean over (layer, KV head)
    std::optional<double>
        needle_recall_weighted;  ///< by m; undefined where no head reads the needle
    /// Of what the answer's queries read of the needle, the share that is kept; and the same over
    /// the heads that do the reading, where half of it is next to nothing (docs/metrics.md, "Reader
    /// recall"). Undefined as needle_recall_weighted, and where no head says what it read.
    std::optional<double> needle_read, needle_recall_readers;
    std::optional<double> needle_intact_heads;  ///< share of (layer, KV head) that keep all of it
    std::optional<double> mass_kept;            ///< mean over (layer, KV head)
    std::optional<double> output_error_median;  ///< mean over (layer, KV head) of their medians
};
SequenceSummary summarise(const std::string& task,
                          const std::vector<HeadResult>& heads,
                          std::int64_t entry_bytes);

/// One row of summary.csv: the mean over the sequences of a task, undefined values left out.
struct TaskSummary {
    std::int64_t sequences = 0;
    double kept_ratio = 0.0;
    double kept_bytes_ratio = 0.0;
    std::optional<Interval> needle_recall, needle_recall_weighted;
    std::optional<double> needle_intact_heads, mass_kept, output_error_median;
};
TaskSummary summarise(const std::vector<SequenceSummary>& sequences, const Bootstrap& bootstrap);

}  // namespace kvtape
