#pragma once

#include "analyze/figure_grid.hpp"
#include "sim/bootstrap.hpp"
#include "sim/csv.hpp"
#include "sim/results.hpp"

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// The columns that name a result, in every table.
inline constexpr std::string_view result_columns =
    "policy,parameters,budget,schedule,query_source,";
Csv& begin_row(Csv& csv, const Result& result);

/// `layer,kv_head`, empty for those that a group does not name.
Csv& add_group(Csv& csv, HeadGroup group);

/// What is not a number stands empty in a table.
std::optional<double> defined(double number);
/// Mean and both ends; three empty fields for no values.
Csv& add_interval(Csv& csv, const Bootstrap& bootstrap, const std::vector<double>& values);
/// The same for each of several figures of a row, with less work.
Csv& add_intervals(Csv& csv,
                   const Bootstrap& bootstrap,
                   std::span<const std::vector<double>> figures);
/// The columns that these fill: `,a,a_low,a_high,b,b_low,b_high`.
std::string interval_columns(std::initializer_list<std::string_view> figures);

/// A table whose rows of each result are made on one of several threads; those without a flag in
/// `usable` have none.
std::string result_table(std::string_view header,
                         const std::vector<char>& usable,
                         int threads,
                         const std::function<void(std::size_t result, Csv& rows)>& add_rows);

}  // namespace kvtape
