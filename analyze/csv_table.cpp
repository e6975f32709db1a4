#include "analyze/csv_table.hpp"

#include "core/error.hpp"
#include "sim/csv.hpp"

#include <charconv>
#include <fstream>
#include <limits>
#include <string_view>

namespace kvtape {
namespace {

using Record = std::vector<std::string>;
using Places = std::map<std::string, std::size_t>;

/// Of every column of the head; all of `columns` have to be there.
Places places_of(const Record& head, const Record& columns, const std::string& path) {
    Places places;
    for (std::size_t i = 0; i < head.size(); ++i)
        places[head[i]] = i;
    for (const std::string& column : columns)
        if (!places.contains(column))
            throw format_error("reading the table " + path + ": it has no column '" + column +
                               "'; it is of another version or not a table of kvtape");
    return places;
}

/// Calls `begin` with the places of the columns, then `visit` with each record and its number.
template <typename Begin, typename Visit>
void read_records(const std::string& path,
                  const Record& columns,
                  const Begin& begin,
                  const Visit& visit) {
    std::ifstream file(path, std::ios::binary);
    std::size_t width = 0, number = 0;
    CsvParser parser(path, [&](Record& record) {
        if (width == 0) {
            width = record.size();
            begin(places_of(record, columns, path));
            return;
        }
        ++number;
        if (record.size() != width)
            throw format_error("reading the table " + path + ": record " + std::to_string(number) +
                               " has " + std::to_string(record.size()) + " fields, its head has " +
                               std::to_string(width));
        visit(record, number);
    });
    std::vector<char> piece(1 << 16);
    while (file.read(piece.data(), std::ssize(piece)) || file.gcount() > 0)
        parser.read({piece.data(), static_cast<std::size_t>(file.gcount())});
    if (!file.eof())
        throw errno_error("reading the table " + path);
    parser.finish();
    if (width == 0)
        throw format_error("reading the table " + path + ": it has no head; expected " +
                           columns.front() + ", ...");
}

double number_in(const std::string& field,
                 const std::string& path,
                 const std::string& column,
                 std::size_t record) {
    if (field.empty())
        return std::numeric_limits<double>::quiet_NaN();
    double value = 0.0;
    const auto read = std::from_chars(field.data(), field.data() + field.size(), value);
    if (read.ec != std::errc() || read.ptr != field.data() + field.size())
        throw format_error("reading the table " + path + ": '" + field + "' in column " + column +
                           " of record " + std::to_string(record) + " is not a number");
    return value;
}

}  // namespace

CsvTable CsvTable::read(const std::filesystem::path& path,
                        const std::vector<std::string>& columns) {
    CsvTable table;
    table.path_ = path.string();
    read_records(
        table.path_,
        columns,
        [&](Places places) { table.columns_ = std::move(places); },
        [&](Record& record, std::size_t) { table.records_.push_back(std::move(record)); });
    return table;
}

const std::string& CsvTable::text(std::size_t row, const std::string& column) const {
    return records_[row][columns_.at(column)];
}

double CsvTable::number(std::size_t row, const std::string& column) const {
    return number_in(text(row, column), path_, column, row + 1);
}

double CsvRow::value(std::size_t column) const {
    return number_in(text(column), path, columns[column], number);
}

void visit_rows(const std::filesystem::path& path,
                const std::vector<std::string>& columns,
                const std::function<void(const CsvRow&)>& visit) {
    const std::string name = path.string();
    std::vector<std::size_t> chosen;
    CsvRow row{.path = name, .columns = columns, .fields = {}};
    row.fields.resize(columns.size());
    read_records(
        name,
        columns,
        [&](const Places& places) {
            for (const std::string& column : columns)
                chosen.push_back(places.at(column));
        },
        [&](const Record& record, std::size_t number) {
            row.number = number;
            for (std::size_t i = 0; i < chosen.size(); ++i)
                row.fields[i] = &record[chosen[i]];
            visit(row);
        });
}

}  // namespace kvtape
