#include "tools/visible_text.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace kvtape {
namespace {

constexpr std::uint32_t replacement = 0xfffd;

/// One code point of UTF-8 and the bytes it takes; `replacement` and one byte where it is
/// malformed.
struct Decoded {
    std::uint32_t code = replacement;
    std::size_t bytes = 1;
};

Decoded decode(std::string_view text) {
    const auto first = static_cast<unsigned char>(text[0]);
    if (first < 0x80)
        return {first, 1};
    const std::size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < bytes)
        return {};
    std::uint32_t code = first & (0x7fu >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        const auto next = static_cast<unsigned char>(text[i]);
        if ((next & 0xc0u) != 0x80u)
            return {};
        code = code << 6 | (next & 0x3fu);
    }
    const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return {};
    return {code, bytes};
}

void append(std::string& out, std::uint32_t code) {
    const auto add = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
    const auto tail = [&](unsigned shift) { add(0x80u | (code >> shift & 0x3fu)); };
    if (code < 0x80) {
        add(code);
    } else if (code < 0x800) {
        add(0xc0u | code >> 6);
        tail(0);
    } else if (code < 0x10000) {
        add(0xe0u | code >> 12);
        tail(6);
        tail(0);
    } else {
        add(0xf0u | code >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
}

/// Characters that are not seen, or that change where others are seen.
bool is_unseen(std::uint32_t code) {
    const auto within = [code](std::uint32_t low, std::uint32_t high) {
        return code >= low && code <= high;
    };
    return within(0x80, 0x9f) || code == 0xad || code == 0x61c || within(0x200b, 0x200f) ||
           within(0x2028, 0x202e) || within(0x2060, 0x206f) || code == 0xfeff ||
           within(0xfff9, 0xfffb) || within(0xe0000, 0xe007f);
}

}  // namespace

std::string visible_text(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const auto [code, bytes] = decode(text);
        text.remove_prefix(bytes);
        if (code < 0x20) {
            append(out, 0x2400 + code);
        } else if (code == 0x7f) {
            append(out, 0x2421);
        } else if (is_unseen(code)) {
            char name[16];
            std::snprintf(name, sizeof name, "[U+%04X]", static_cast<unsigned>(code));
            out += name;
        } else {
            append(out, code);
        }
    }
    return out;
}

std::string html_escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

}  // namespace kvtape
