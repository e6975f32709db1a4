#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvtape::model {

/// One code point and the bytes it takes.
struct CodePoint {
    char32_t value = 0;
    std::size_t bytes = 0;
};

/// The code point at `offset`, or nothing when the bytes there are not well-formed UTF-8
/// (overlong forms, surrogates and values above U+10FFFF are not).
std::optional<CodePoint> code_point_at(std::string_view text, std::size_t offset);

/// The code point that ends right before `end`, 0 < end <= size. `text` must be well-formed.
CodePoint code_point_before(std::string_view text, std::size_t end);

/// The UTF-8 of a code point.
std::string to_utf8(char32_t value);

/// Throws a format error that names the first malformed byte of `what`.
void expect_utf8(std::string_view text, std::string_view what);

/// Whether the code point has Unicode's property White_Space.
bool is_white_space(char32_t value);

}  // namespace kvtape::model
