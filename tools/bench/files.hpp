#pragma once

#include "tools/bench/measure.hpp"

#include <filesystem>
#include <vector>

namespace kvtape::bench {

/// Reading a trace: every dataset of every layer as float32 with its checksums verified, beside
/// reading the bytes of the file (both from the page cache).
std::vector<Json> bench_trace(const Setting& setting, const std::filesystem::path& trace);

}  // namespace kvtape::bench
