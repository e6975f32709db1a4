#pragma once

#include "core/json.hpp"
#include "tools/report/sources.hpp"

#include <string>
#include <vector>

namespace kvtape::report {

/// Adds a note for each table of `analyze` that lacks rows of results: one that was cut off at the
/// end of a line reads like a whole one. `tables` are those of `analysis`; what is null there was
/// not read, and is noted elsewhere. Rows are expected of the results that bias.csv knows, or of
/// all where it is not there.
void note_gaps(Sources& sources, const Json& tables);

/// `2 of the 8 results that were analyzed: h2o at 25%; snapkv, oracle at 10%`, the first few named.
std::string listed(const std::vector<std::string>& names, std::size_t all, const std::string& what);

}  // namespace kvtape::report
