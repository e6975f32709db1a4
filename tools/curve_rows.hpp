#pragma once

#include "sim/results.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace kvtape {

/// The rows of `fresh` (a table of `curve_table`), and those of an earlier `curve.csv` in
/// `directory` of policies that `fresh` does not draw but `results` still hold; by policy, query
/// source and schedule. An earlier table that is damaged, or has other columns, gives none.
std::string with_earlier_curves(std::string_view fresh,
                                const std::filesystem::path& directory,
                                std::span<const Result> results);

}  // namespace kvtape
