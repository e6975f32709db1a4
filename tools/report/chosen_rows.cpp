#include "tools/report/chosen_rows.hpp"

#include "tools/report/optional_table.hpp"

#include <charconv>

namespace kvtape::report {
namespace {

constexpr std::size_t most_bytes = 200'000;

Json field(const std::string& text) {
    if (text.empty())
        return {};
    double number = 0.0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    // A budget such as 0.10 or a sequence 0003 is a name: only what reads back alike is a number.
    const bool is_name = text.size() > 1 && text[0] == '0' && text[1] != '.';
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || is_name)
        return text;
    return rounded(number);
}

}  // namespace

Json chosen_rows(const std::filesystem::path& path,
                 const std::vector<std::string>& columns,
                 const std::function<bool(const CsvTable&, std::size_t)>& is_chosen) {
    const CsvTable table = CsvTable::read(path, columns);
    Json rows = Json::array();
    std::size_t bytes = 0, left_out = 0;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        if (!is_chosen(table, row))
            continue;
        Json fields = Json::array();
        for (const std::string& column : columns)
            fields.push_back(column.starts_with("budget") ? Json(table.text(row, column))
                                                          : field(table.text(row, column)));
        bytes += to_text(fields).size();
        if (bytes > most_bytes)
            ++left_out;
        else
            rows.push_back(std::move(fields));
    }
    return {{"columns", columns}, {"rows", rows}, {"left_out", left_out}};
}

}  // namespace kvtape::report
