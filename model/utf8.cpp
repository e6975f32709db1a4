#include "model/utf8.hpp"

#include "core/error.hpp"

#include <string>

namespace kvtape::model {

std::optional<CodePoint> code_point_at(std::string_view text, std::size_t offset) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[offset + i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80)
        return CodePoint{lead, 1};
    const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - offset < length)
        return {};
    auto value = static_cast<char32_t>(lead & (0x7fu >> length));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0u) != 0x80u)
            return {};
        value = value << 6 | (byte(i) & 0x3fu);
    }
    const char32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return {};
    return CodePoint{value, length};
}

CodePoint code_point_before(std::string_view text, std::size_t end) {
    std::size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0u) == 0x80u)
        --begin;
    return code_point_at(text, begin).value_or(CodePoint{0, end - begin});
}

std::string to_utf8(char32_t value) {
    const auto tail = [&](unsigned shift) {
        return static_cast<char>(0x80u | (value >> shift & 0x3fu));
    };
    const auto lead = [&](unsigned mark, unsigned shift) {
        return static_cast<char>(mark | value >> shift);
    };
    if (value < 0x80)
        return {static_cast<char>(value)};
    if (value < 0x800)
        return {lead(0xc0, 6), tail(0)};
    if (value < 0x10000)
        return {lead(0xe0, 12), tail(6), tail(0)};
    return {lead(0xf0, 18), tail(12), tail(6), tail(0)};
}

void expect_utf8(std::string_view text, std::string_view what) {
    for (std::size_t offset = 0; offset < text.size();) {
        const std::optional<CodePoint> point = code_point_at(text, offset);
        if (!point)
            throw format_error("reading " + std::string(what) + ": byte " + std::to_string(offset) +
                               " does not begin a well-formed UTF-8 character");
        offset += point->bytes;
    }
}

bool is_white_space(char32_t value) {
    return (value >= 0x9 && value <= 0xd) || value == 0x20 || value == 0x85 || value == 0xa0 ||
           value == 0x1680 || (value >= 0x2000 && value <= 0x200a) || value == 0x2028 ||
           value == 0x2029 || value == 0x202f || value == 0x205f || value == 0x3000;
}

}  // namespace kvtape::model
