#include "model/byte_level.hpp"

#include "model/utf8.hpp"

#include <array>

namespace kvtape::model {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr char32_t first_displaced = 0x100;
constexpr std::size_t displaced_count = 68;

/// The bytes written as U+0100, U+0101, ...
constexpr std::array<unsigned char, displaced_count> displaced = [] {
    std::array<unsigned char, displaced_count> bytes{};
    std::size_t count = 0;
    for (unsigned byte = 0; byte < 256; ++byte)
        if (!stands_for_itself(byte))
            bytes[count++] = static_cast<unsigned char>(byte);
    return bytes;
}();

}  // namespace

std::optional<char> byte_of_character(char32_t character) {
    if (character < first_displaced && stands_for_itself(character))
        return static_cast<char>(character);
    if (character >= first_displaced && character < first_displaced + displaced_count)
        return static_cast<char>(displaced[character - first_displaced]);
    return {};
}

const std::string& character_of_byte(unsigned char byte) {
    static const std::array<std::string, 256> all = [] {
        std::array<std::string, 256> made;
        for (char32_t character = 0; character < first_displaced + displaced_count; ++character)
            if (const std::optional<char> value = byte_of_character(character))
                made[static_cast<unsigned char>(*value)] = to_utf8(character);
        return made;
    }();
    return all[byte];
}

std::optional<std::string> bytes_of_entry(std::string_view entry) {
    std::string bytes;
    for (std::size_t offset = 0; offset < entry.size();) {
        const std::optional<CodePoint> point = code_point_at(entry, offset);
        const std::optional<char> byte = point ? byte_of_character(point->value) : std::nullopt;
        if (!byte)
            return {};
        bytes += *byte;
        offset += point->bytes;
    }
    return bytes;
}

}  // namespace kvtape::model
