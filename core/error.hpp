#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kvtape {

/// Why a run stopped. `tools` maps each kind to a documented exit code.
enum class ErrorKind {
    usage,     ///< the user asked for something that does not exist or cannot be combined (exit 2)
    format,    ///< a file or its content is malformed or does not belong here (exit 3)
    io,        ///< the operating system refused to read or write (exit 4)
    device,    ///< an accelerator is absent or failed (exit 5)
    internal,  ///< a bug of ours (exit 70)
};

/// The one exception of kvtape. The message is one line and says what was being done, to which
/// object, what was found, what was expected and what to do. Outer layers say what they were doing
/// with `add()` and rethrow with `throw;`.
class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, std::string_view message);

    ErrorKind kind() const noexcept { return kind_; }
    const char* what() const noexcept override { return message_.c_str(); }

    /// Puts `context` and a colon before the message: `replaying sequence 0003: ...`.
    void add(std::string_view context);

  private:
    ErrorKind kind_;
    std::string message_;
};

Error usage_error(std::string_view message);
Error format_error(std::string_view message);
Error io_error(std::string_view message);
Error device_error(std::string_view message);
Error internal_error(std::string_view message);

/// An io error `message: <text of the system's error number>; <what to do about it>`.
Error system_error(std::string_view message, int number);
/// The same with the calling thread's errno.
Error errno_error(std::string_view message);

/// The entry of `known` nearest to `word` by edit distance (first of equals), or "" when even the
/// nearest needs more edits than a third of the longer word. For "did you mean" hints.
std::string nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace kvtape
