#pragma once

#include "trace/input.hpp"
#include "trace/reader.hpp"

#include <string>
#include <vector>

namespace kvtape {

/// The root of either file: whether `mark` (`kvtape_trace` or `kvtape_decisions`) is there with a
/// version we read, and whether the writer finished. Returns the version.
std::string read_version(const InputGroup& root, const char* mark);
/// True when complete. Refuses an incomplete file unless `unfinished` allows it.
bool read_complete(const InputGroup& root, Unfinished unfinished);

/// The fingerprint, 32 hexadecimal digits. Where the writer finished it is not all zeros, which is
/// what stands there before.
std::string read_fingerprint(const InputGroup& root, bool complete);

/// The names in `/sequences`. They must be 0000, 0001, ... without a gap, or, when unfinished,
/// four digits each.
std::vector<std::string> sequence_names(const InputGroup& root, bool complete);

}  // namespace kvtape
