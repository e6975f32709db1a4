#pragma once

#include "tools/bench/measure.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace kvtape::bench {

/// Replaying each policy over a trace at one budget and at 32, from opening the file to the fate of
/// every token, nothing written: what sharing the reading and the scores among budgets is worth.
void bench_replays(const Setting& setting,
                   const std::filesystem::path& trace,
                   const std::vector<std::string>& specs,
                   const Report& report);

}  // namespace kvtape::bench
