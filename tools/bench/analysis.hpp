#pragma once

#include "tools/bench/measure.hpp"

#include <filesystem>
#include <optional>

namespace kvtape::bench {

/// `kvtape analyze` over a directory of results, from opening its files to the text of every table,
/// nothing written: `results`, `tables`, and `peak_bytes`, the most memory that the process held.
Json bench_analysis(const Setting& setting,
                    const std::filesystem::path& directory,
                    const std::optional<std::filesystem::path>& trace);

}  // namespace kvtape::bench
