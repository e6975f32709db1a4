#pragma once

#include <string>
#include <vector>

namespace kvtape {

/// Aligned plain text: the first column to the left, the others to the right, two blanks between.
/// The first row is the head, underlined. Widths count UTF-8 code points.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace kvtape
