#pragma once

#include "core/error.hpp"
#include "trace/input.hpp"

#include <functional>
#include <memory>
#include <string>

namespace kvtape {

/// 32 hex digits: XXH3-128 over the canonical serialisation of docs/trace-format.md, section 3.
/// Reads the whole file and verifies every checksum on the way; holds one chunk at a time.
std::string fingerprint_of(const std::shared_ptr<const InputFile>& file);

/// Hears of a damaged object, by path, and why.
using Damaged = std::function<void(const std::string& object, const Error& error)>;
/// The same, but goes on behind damaged datasets, telling `damaged`; the fingerprint is then that
/// of nothing.
std::string fingerprint_of(const std::shared_ptr<const InputFile>& file, const Damaged& damaged);

}  // namespace kvtape
