#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace kvtape {

/// A CSV table in memory, its fields by column name.
class CsvTable {
  public:
    /// Reads a file. A table without one of `columns`, a record of another width and a table
    /// without a head are format errors that name the file; an unreadable file is an io error.
    static CsvTable read(const std::filesystem::path& path,
                         const std::vector<std::string>& columns);

    std::size_t rows() const { return records_.size(); }
    const std::string& text(std::size_t row, const std::string& column) const;
    /// NaN where the field is empty; anything but a number is a format error.
    double number(std::size_t row, const std::string& column) const;

  private:
    std::string path_;
    std::map<std::string, std::size_t> columns_;
    std::vector<std::vector<std::string>> records_;
};

/// One record of a CSV file while it is read; columns are counted as they were asked for.
struct CsvRow {
    const std::string& path;
    std::size_t number = 0;  ///< of the record, from 1
    const std::vector<std::string>& columns;
    std::vector<const std::string*> fields;  ///< one for each column

    const std::string& text(std::size_t column) const { return *fields[column]; }
    /// As `CsvTable::number`.
    double value(std::size_t column) const;
};

/// Visits the records of a CSV file one after the other, for tables that need not be in memory.
/// Errors are those of `CsvTable::read`.
void visit_rows(const std::filesystem::path& path,
                const std::vector<std::string>& columns,
                const std::function<void(const CsvRow&)>& visit);

}  // namespace kvtape
