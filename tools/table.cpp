#include "tools/table.hpp"

#include <algorithm>
#include <cstddef>

namespace kvtape {
namespace {

std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
}

void add_row(std::string& out,
             const std::vector<std::string>& row,
             const std::vector<std::size_t>& widths) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
        const std::string padding(widths[i] - width_of(row[i]), ' ');
        line += i == 0 ? row[i] + padding : "  " + padding + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
}

}  // namespace

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const std::vector<std::string>& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], width_of(row[i]));
    }
    std::string out;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        add_row(out, rows[i], widths);
        if (i == 0) {
            std::vector<std::string> rule;
            for (const std::size_t width : widths)
                rule.push_back(std::string(width, '-'));
            add_row(out, rule, widths);
        }
    }
    return out;
}

}  // namespace kvtape
