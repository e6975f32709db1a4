#pragma once

#include "core/json.hpp"

#include <functional>

namespace kvtape::bench {

/// What every benchmark shares.
struct Setting {
    int threads = 1;
    int repetitions = 5;
};

/// Takes a row as soon as it was measured.
using Report = std::function<void(const Json& row)>;

/// Wall times of `repetitions` runs after one that is not counted.
struct Times {
    double median = 0.0;  ///< seconds
    double fastest = 0.0;
    double slowest = 0.0;
};
Times measure(const Setting& setting, const std::function<void()>& run);

/// A row with the times and the machine: `bench`, `seconds`, `fastest`, `slowest`, `threads`,
/// `isa`, `cpu`. Callers add what the figure means.
Json row(const std::string& name, const Setting& setting, const Times& times);

}  // namespace kvtape::bench
