#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvtape::model {

/// The bytes that a vocabulary entry of a byte-level tokenizer stands for, or nothing when it holds
/// a character outside that alphabet. The alphabet (of GPT-2) writes printable Latin-1 bytes as
/// themselves and the others, in order, as the characters from U+0100.
std::optional<std::string> bytes_of_entry(std::string_view entry);

}  // namespace kvtape::model
