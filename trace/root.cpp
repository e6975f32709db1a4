#include "trace/root.hpp"

#include "core/error.hpp"
#include "trace/schema.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace kvtape {
namespace {

bool is_digits(const std::string& text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string read_version(const InputGroup& root, const char* mark) {
    if (!root.has_attribute(mark)) {
        const bool decisions = std::string_view(mark) == schema::decisions_mark;
        const char* other = decisions ? schema::trace_mark : schema::decisions_mark;
        if (root.has_attribute(other))
            throw format_error("opening " + root.file().name() + ": it is a " +
                               (decisions ? "trace, expected a decision file"
                                          : "decision file, expected a trace"));
        root.fail(std::string("has no attribute ") + mark + ": not a file of kvtape");
    }
    const std::string version = root.text(mark);
    const std::size_t dot = version.find('.');
    int major = -1;
    const std::string first = version.substr(0, dot);
    std::from_chars(first.data(), first.data() + first.size(), major);
    if (dot == std::string::npos || !is_digits(first) || !is_digits(version.substr(dot + 1)))
        root.fail(std::string("has ") + mark + " '" + version.substr(0, 40) +
                  "', expected a version such as 1.0");
    if (major != schema::major_version)
        root.fail("has schema version " + version.substr(0, 40) + "; this kvtape reads version " +
                  std::to_string(schema::major_version) + ".x");
    return version;
}

bool read_complete(const InputGroup& root, Unfinished unfinished) {
    const bool complete = root.uint8(schema::complete) == 1;
    if (!complete && unfinished == Unfinished::refuse)
        root.fail("has complete = 0: its writer did not finish; --partial reads what there is");
    return complete;
}

std::string read_fingerprint(const InputGroup& root, bool complete) {
    const std::string digits = root.text(schema::fingerprint);
    if (digits.size() != 32 || digits.find_first_not_of("0123456789abcdef") != std::string::npos)
        root.fail("has fingerprint '" + digits.substr(0, 40) +
                  "', expected 32 hexadecimal digits in lower case");
    if (complete && digits.find_first_not_of('0') == std::string::npos)
        root.fail("has a fingerprint of zeros although complete = 1: its writer never computed it");
    return digits;
}

std::vector<std::string> sequence_names(const InputGroup& root, bool complete) {
    if (!complete && !root.has(schema::sequences))
        return {};
    const InputGroup group = root.group(schema::sequences);
    const std::vector<std::string> names = group.names();
    for (std::size_t index = 0; index < names.size(); ++index) {
        const std::string expected = schema::sequence_name(static_cast<std::int64_t>(index));
        if (names[index].size() != 4 || !is_digits(names[index]) ||
            (complete && names[index] != expected))
            group.fail("holds '" + names[index].substr(0, 40) + "', expected " + expected);
    }
    return names;
}

}  // namespace kvtape
