#pragma once

#include "model/tokenizer.hpp"

#include <cstdint>
#include <string>

namespace kvtape::testing {

/// The byte ranges of an encoding of `text` widened to whole characters, as `tokenizers` reports
/// them.
inline model::Encoding widened(model::Encoding encoding, const std::string& text) {
    const auto inside_character = [&](std::int64_t offset) {
        return offset < std::ssize(text) &&
               (static_cast<unsigned char>(text[static_cast<std::size_t>(offset)]) & 0xc0u) ==
                   0x80u;
    };
    for (std::int64_t& begin : encoding.begins)
        while (inside_character(begin))
            --begin;
    for (std::int64_t& end : encoding.ends)
        while (inside_character(end))
            ++end;
    return encoding;
}

}  // namespace kvtape::testing
