#pragma once

#include "tools/bench/measure.hpp"

#include <filesystem>
#include <vector>

namespace kvtape::bench {

/// Prompt processing of a checkpoint on the CPU over `tokens` random tokens: one row without
/// recording, one with what `record` asks of a model by default (column sums of all queries, the
/// last 64 query rows with outputs and normalisers).
std::vector<Json> bench_prompt(const Setting& setting,
                               const std::filesystem::path& model,
                               int tokens);

}  // namespace kvtape::bench
