#pragma once

#include "tools/workload/document.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::workload {

/// The same text with A-Z as a-z; the bytes stay where they are.
std::string lower_case(std::string_view text);

/// Whether `text` holds `word` with neither a letter nor a digit (of ASCII) right beside it. Case
/// counts. An empty word is nowhere.
bool mentions(std::string_view text, std::string_view word);

/// The sentences of a text: what lies between line feeds, or ends with a full stop, a question or
/// an exclamation mark before white space. Blanks around a sentence do not belong to it.
std::vector<TextRange> sentences_of(std::string_view text);

/// Those sentences that mention one of `words`, whatever the case; none when they are more than
/// `most`, because then they tell nothing.
std::vector<TextRange> sentences_that_mention(std::string_view text,
                                              std::span<const std::string> words,
                                              std::size_t most);

}  // namespace kvtape::workload
