#pragma once

#include <cstdint>
#include <span>

namespace kvtape::model {

/// A canonical decomposition; `second` is 0 where it has one character.
struct Decomposition {
    char32_t character = 0;
    char32_t first = 0;
    char32_t second = 0;
    std::uint8_t composes = 0;  ///< whether NFC puts the pair together again
};

/// Characters `[first, last]` of one canonical combining class above 0.
struct CombiningRun {
    char32_t first = 0;
    char32_t last = 0;
    std::uint8_t combining_class = 0;
};

/// Both in order of the characters, without Hangul syllables, and as old as the tables that
/// Hugging Face `tokenizers` normalises by.
std::span<const Decomposition> decompositions();
std::span<const CombiningRun> combining_runs();

}  // namespace kvtape::model
