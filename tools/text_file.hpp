#pragma once

#include <filesystem>
#include <string_view>

namespace kvtape {

/// Writes `content` to `path.partial` and renames it to `path` once it is complete. Errors are io
/// errors that name the file; nothing is left behind then.
void write_text_file(const std::filesystem::path& path, std::string_view content);

/// Throws a usage error when `path`, which `option` names, is the file `other`, which would be
/// lost.
void expect_other_file(std::string_view option,
                       const std::filesystem::path& path,
                       const std::filesystem::path& other);

}  // namespace kvtape
