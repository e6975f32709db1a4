#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// One thing that is wrong with a file.
struct Finding {
    std::string object;   ///< path in the file; `/` for the file as a whole
    std::string problem;  ///< one line that names the file and the object
};

/// What kind of file of ours it is.
enum class FileKind { trace, decisions };

/// Looks at the root alone. Files that are neither are format errors.
FileKind kind_of(const std::filesystem::path& path);

/// The result of reading a whole file.
struct CheckReport {
    FileKind kind = FileKind::trace;
    bool complete = true;
    std::string fingerprint;  ///< as the file says
    std::string recomputed;   ///< from its content; empty when parts of it are damaged
    std::optional<std::int32_t> sequences;  ///< finished ones; unknown where parts are damaged
    std::vector<Finding> findings;

    bool clean() const { return findings.empty(); }
};

/// Reads a trace or decision file from end to end: every checksum, the fingerprint, the amounts
/// that decisions say were kept, and everything a reader would refuse. Damage and an unfinished
/// writer are findings; a file that is not ours, or whose content never fitted the format, is a
/// format error. Holds one chunk of a trace, or one layer of a decision file, at a time.
CheckReport check_file(const std::filesystem::path& path);

}  // namespace kvtape
