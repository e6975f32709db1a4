#include "analyze/result_table.hpp"

#include "core/parallel.hpp"

#include <cmath>
#include <limits>

namespace kvtape {
namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

Csv& add_ends(Csv& csv, const Interval& interval) {
    return csv.field(defined(interval.mean))
        .field(defined(interval.low))
        .field(defined(interval.high));
}

}  // namespace

Csv& begin_row(Csv& csv, const Result& result) {
    return csv.field(result.policy)
        .field(result.parameters)
        .field(result.budget.text())
        .field(result.schedule)
        .field(result.query_source);
}

Csv& add_group(Csv& csv, HeadGroup group) {
    for (const std::optional<std::size_t>& index : {group.layer, group.head})
        csv.field(index ? std::to_string(*index) : std::string());
    return csv;
}

std::optional<double> defined(double number) {
    return std::isnan(number) ? std::nullopt : std::optional(number);
}

Csv& add_interval(Csv& csv, const Bootstrap& bootstrap, const std::vector<double>& values) {
    return add_ends(csv, values.empty() ? Interval{none, none, none} : bootstrap.mean(values));
}

Csv& add_intervals(Csv& csv,
                   const Bootstrap& bootstrap,
                   std::span<const std::vector<double>> figures) {
    const std::vector<Interval> intervals = bootstrap.means(figures);
    for (std::size_t i = 0; i < figures.size(); ++i)
        add_ends(csv, figures[i].empty() ? Interval{none, none, none} : intervals[i]);
    return csv;
}

std::string interval_columns(std::initializer_list<std::string_view> figures) {
    std::string columns;
    for (const std::string_view figure : figures)
        for (const char* end : {"", "_low", "_high"})
            columns.append(",").append(figure).append(end);
    return columns;
}

std::string result_table(std::string_view header,
                         const std::vector<char>& usable,
                         int threads,
                         const std::function<void(std::size_t, Csv&)>& add_rows) {
    std::vector<std::string> parts(usable.size());
    parallel_for(usable.size(), threads, [&](std::size_t result) {
        if (usable[result] == 0)
            return;
        Csv rows("");
        add_rows(result, rows);
        parts[result] = rows.text().substr(1);  // its header is an empty line
    });
    std::string text = Csv(header).text();
    for (const std::string& part : parts)
        text += part;
    return text;
}

}  // namespace kvtape
