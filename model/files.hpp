#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kvtape::model {

/// Refuses, with a format error, what git-lfs leaves in the place of a file that was not fetched.
void refuse_pointer(std::string_view bytes, const std::string& what);

/// The whole file. Larger than `most_bytes` is a format error, and so is a pointer of git-lfs;
/// unreadable is an io error.
std::string read_text(const std::filesystem::path& path, std::size_t most_bytes);

}  // namespace kvtape::model
