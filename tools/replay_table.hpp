#pragma once

#include "sim/tables.hpp"

#include <string>
#include <vector>

namespace kvtape {

/// The table that `replay` prints: a policy a row, a budget a column, weighted needle recall in the
/// cells. `full`, `oracle` and `random` are what a reader compares with: the first two come first,
/// `random` last, the others in between by name. A cell whose policy kept more than was asked, by
/// more than one hundredth of the context, is marked `*`, and a line below says what it kept;
/// `full` is not marked. The last lines hold what a policy's results are never shown without.
std::string replay_table(const std::vector<Cell>& cells);

}  // namespace kvtape
