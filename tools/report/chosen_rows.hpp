#pragma once

#include "analyze/csv_table.hpp"
#include "core/json.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace kvtape::report {

/// Some columns of some rows of a table: {columns, rows, left_out}. Numbers become numbers of three
/// decimals, other fields stay text, empty ones null. Rows beyond what a page can take are counted
/// in `left_out`.
Json chosen_rows(const std::filesystem::path& path,
                 const std::vector<std::string>& columns,
                 const std::function<bool(const CsvTable&, std::size_t)>& is_chosen);

}  // namespace kvtape::report
