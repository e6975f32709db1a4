#pragma once

#include "analyze/measured_results.hpp"
#include "sim/bootstrap.hpp"

#include <span>
#include <string>
#include <string_view>

namespace kvtape {

/// by-PARAMETER.csv: results whose policies have the parameter, grouped by everything else, values
/// ascending (docs/metrics.md). A parameter that no policy has is a usage error that lists those
/// there are.
std::string sweep_table(std::span<const MeasuredResult> results,
                        std::string_view parameter,
                        const Bootstrap& bootstrap);

}  // namespace kvtape
