#pragma once

#include <cstdint>
#include <filesystem>
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

}  // namespace kvtape
