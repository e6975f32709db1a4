#pragma once

#include "core/types.hpp"
#include "tools/bench/measure.hpp"
#include "tools/device.hpp"

#include <filesystem>
#include <vector>

namespace kvtape::bench {

/// Prompt processing of a checkpoint on the CPU over `tokens` random tokens, three rows: without
/// recording; with what `record` collects by default (column sums of all queries, the last 64 query
/// rows with outputs and normalisers), kept in memory; and with that written to a finished trace in
/// the system's folder for temporary files, which is removed.
std::vector<Json> bench_prompt(const Setting& setting,
                               const Device& device,
                               const std::filesystem::path& model,
                               Position tokens);

}  // namespace kvtape::bench
