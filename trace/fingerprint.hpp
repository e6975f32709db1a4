#pragma once

#include "trace/input.hpp"

#include <memory>
#include <string>

namespace kvtape {

/// 32 hex digits: XXH3-128 over the canonical serialisation of docs/trace-format.md, section 3.
/// Reads the whole file and verifies every checksum on the way; holds one chunk at a time.
std::string fingerprint_of(const std::shared_ptr<const InputFile>& file);

}  // namespace kvtape
