#pragma once

#include <filesystem>
#include <string>

namespace kvtape::model {

/// The whole file. Larger than `most_bytes` is a format error, unreadable an io error.
std::string read_text(const std::filesystem::path& path, std::size_t most_bytes);

}  // namespace kvtape::model
