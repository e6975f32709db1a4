#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvtape {

/// One policy at one budget on one task: a replayed metric and the live answers, sequence by
/// sequence. Cells of a task hold the same sequences in the same order.
struct CalibrationCell {
    std::string task;
    std::vector<double> metric;   ///< NaN where it is undefined
    std::vector<double> correct;  ///< 1 or 0
};

/// A rank correlation with its 95 % interval; the ends are NaN where there is none.
struct Correlation {
    double value = 0.0;
    double low = 0.0, high = 0.0;
};

/// How well a metric that was computed by replay orders what the running model gets right.
struct Calibration {
    std::int64_t cells = 0;
    std::int64_t sequences = 0;           ///< over tasks
    std::optional<Correlation> spearman;  ///< over the cells' means; none where a side is constant
    std::optional<Correlation> kendall;   ///< tau-b
};

/// Correlates over all cells (metrics.md, section 6). The interval is a percentile bootstrap over
/// sequences, drawn within each task and shared by all of its cells (10,000 resamples by Philox,
/// seed 0); tasks of fewer than four sequences give none. Cells without a defined metric are left
/// out. Results do not depend on the number of threads.
Calibration calibrate(std::span<const CalibrationCell> cells, int threads);

}  // namespace kvtape
