#pragma once

#include "model/aligned_text.hpp"

namespace kvtape::model {

/// Brings the text into Unicode's normalization form C (UAX #15). Origins are those that Hugging
/// Face `tokenizers` gives: the n-th character that is written stands for the n-th that is read,
/// where parts of one decomposed character count as written besides it, and a composition skips
/// what it took in.
void to_nfc(AlignedText& text);

}  // namespace kvtape::model
