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

void expect_utf8(std::string_view text, std::string_view what) {
    for (std::size_t offset = 0; offset < text.size();) {
        const std::optional<CodePoint> point = code_point_at(text, offset);
        if (!point)
            throw format_error("reading " + std::string(what) + ": byte " + std::to_string(offset) +
                               " does not begin a well-formed UTF-8 character");
        offset += point->bytes;
    }
}

}  // namespace kvtape::model
