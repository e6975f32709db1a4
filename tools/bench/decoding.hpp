#pragma once

#include "tools/bench/measure.hpp"

#include <string>
#include <vector>

namespace kvtape::bench {

/// The policies that decide while tokens are generated, at default parameters.
std::vector<std::string> decoding_policies();

/// One row per policy and budget: the time a replay takes over 2048 tokens of context, a question
/// and 256 generated tokens, with a decision after each of them. 16 KV heads: four layers of four,
/// 64 channels, four query heads each; random numbers in memory, nothing written.
void bench_decoding(const Setting& setting,
                    const std::vector<std::string>& specs,
                    const Report& report);

}  // namespace kvtape::bench
