#include "analyze/csv_table.hpp"

#include "core/error.hpp"
#include "sim/csv.hpp"

#include <charconv>
#include <fstream>
#include <limits>
#include <sstream>

namespace kvtape {

CsvTable CsvTable::read(const std::filesystem::path& path,
                        const std::vector<std::string>& columns) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file)
        throw errno_error("reading the table " + path.string());
    CsvTable table;
    table.path_ = path.string();
    table.records_ = parse_csv(text.str(), table.path_);
    if (table.records_.empty())
        throw format_error("reading the table " + table.path_ + ": it has no head; expected " +
                           columns.front() + ", ...");
    const std::vector<std::string> head = table.records_.front();
    table.records_.erase(table.records_.begin());
    for (std::size_t i = 0; i < head.size(); ++i)
        table.columns_[head[i]] = i;
    for (const std::string& column : columns)
        if (!table.columns_.contains(column))
            throw format_error("reading the table " + table.path_ + ": it has no column '" +
                               column + "'; it is of another version or not a table of kvtape");
    for (std::size_t row = 0; row < table.rows(); ++row)
        if (table.records_[row].size() != head.size())
            throw format_error("reading the table " + table.path_ + ": record " +
                               std::to_string(row + 1) + " has " +
                               std::to_string(table.records_[row].size()) +
                               " fields, its head has " + std::to_string(head.size()));
    return table;
}

const std::string& CsvTable::text(std::size_t row, const std::string& column) const {
    return records_[row][columns_.at(column)];
}

double CsvTable::number(std::size_t row, const std::string& column) const {
    const std::string& field = text(row, column);
    if (field.empty())
        return std::numeric_limits<double>::quiet_NaN();
    double value = 0.0;
    const auto read = std::from_chars(field.data(), field.data() + field.size(), value);
    if (read.ec != std::errc() || read.ptr != field.data() + field.size())
        throw format_error("reading the table " + path_ + ": '" + field + "' in column " + column +
                           " of record " + std::to_string(row + 1) + " is not a number");
    return value;
}

}  // namespace kvtape
