#pragma once

#include "core/json.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <string>

namespace kvtape {

/// The 95 % interval of a share.
struct ShareInterval {
    double low = 0.0;
    double high = 1.0;
};

/// Wilson's score interval of `successes` out of `trials` (E. B. Wilson, JASA 22, 1927), z = 1.96.
/// No trials: [0, 1].
ShareInterval wilson_interval(std::int64_t successes, std::int64_t trials);

/// What the sequences of one task came to.
struct TaskTally {
    std::string task;
    std::int64_t sequences = 0;
    std::int64_t judged = 0;
    std::int64_t right = 0;
    std::int64_t tokens = 0;  ///< of the sequences that were run
    std::int64_t bytes = 0;
    double seconds = 0.0;

    void add(const SequenceInfo& sequence, double run_seconds, std::int64_t written);
    /// Counts a sequence that an earlier run recorded: neither time nor bytes are of this one.
    void keep(const SequenceInfo& sequence);
    /// `where: 20 sequences, 12 right (0.60, 95 % 0.39..0.78), 5210 tokens/s, 84.0 MiB`
    std::string line() const;
    Json json() const;
};

}  // namespace kvtape
