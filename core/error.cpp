#include "core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

namespace kvtape {
namespace {

/// Messages are one line; whatever a file name or a library brings along is folded into it.
std::string one_line(std::string_view text) {
    std::string line(text);
    std::replace_if(
        line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
    return line;
}

std::string lower_case(std::string_view word) {
    std::string lower(word);
    for (char& letter : lower)
        letter = letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
    return lower;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({above + 1, row[j - 1] + 1, replaced});
            diagonal = above;
        }
    }
    return row[b.size()];
}

/// What to do about an error of the operating system.
const char* advice(int number) {
    switch (number) {
        case ENOENT:
        case ENOTDIR:
        case ENAMETOOLONG:
        case ELOOP:
            return "check the path";
        case EISDIR:
            return "name a file";
        case EACCES:
        case EPERM:
            return "check its permissions, or use another place";
        case EROFS:
            return "the disk is read-only, use another place";
        case ENOSPC:
        case EDQUOT:
            return "make room, or use another disk";
        case EFBIG:
            return "use a disk or a limit (ulimit -f) that allows larger files";
        case EMFILE:
        case ENFILE:
            return "allow more (ulimit -n), or ask for fewer budgets at a time";
        case ENOMEM:
            return "free some memory";
        default:
            return "check the disk and try again";
    }
}

}  // namespace

Error::Error(ErrorKind kind, std::string_view message)
    : std::runtime_error(""),
      kind_(kind),
      message_(one_line(message)) {}

void Error::add(std::string_view context) {
    message_ = one_line(context) + ": " + message_;
}

Error usage_error(std::string_view message) {
    return {ErrorKind::usage, message};
}
Error format_error(std::string_view message) {
    return {ErrorKind::format, message};
}
Error io_error(std::string_view message) {
    return {ErrorKind::io, message};
}
Error device_error(std::string_view message) {
    return {ErrorKind::device, message};
}
Error internal_error(std::string_view message) {
    return {ErrorKind::internal, message};
}

Error system_error(std::string_view message, int number) {
    return io_error(std::string(message) + ": " + std::generic_category().message(number) + "; " +
                    advice(number));
}

Error errno_error(std::string_view message) {
    return system_error(message, errno);
}

std::string nearest(std::string_view word, std::span<const std::string_view> known) {
    // Nobody means another word by another case, so it costs nothing.
    std::string_view best;
    std::size_t best_distance = 0;
    for (const std::string_view candidate : known) {
        const std::size_t distance = edit_distance(lower_case(word), lower_case(candidate));
        if (best.empty() || distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    const std::size_t longer = std::max(word.size(), best.size());
    return best_distance * 3 <= longer ? std::string(best) : std::string();
}

}  // namespace kvtape
