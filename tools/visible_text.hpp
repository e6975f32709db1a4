#pragma once

#include <string>
#include <string_view>

namespace kvtape {

/// `text` as valid UTF-8 that neither moves a cursor nor reorders its surroundings: control
/// characters become their symbols (U+2400 and on), other invisible or direction-changing ones
/// `[U+202E]`, and bytes that are not UTF-8 U+FFFD.
std::string visible_text(std::string_view text);

/// `text` for the inside of an HTML element or a quoted attribute.
std::string html_escaped(std::string_view text);

}  // namespace kvtape
