#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvtape::model {

/// The bytes that a vocabulary entry of a byte-level tokenizer stands for, or nothing when it holds
/// a character outside that alphabet. The alphabet (of GPT-2) writes printable Latin-1 bytes as
/// themselves and the others, in order, as the characters from U+0100.
std::optional<std::string> bytes_of_entry(std::string_view entry);

/// The byte that a character of the alphabet stands for.
std::optional<char> byte_of_character(char32_t character);

/// The character of the alphabet that stands for a byte, in UTF-8.
const std::string& character_of_byte(unsigned char byte);

}  // namespace kvtape::model
