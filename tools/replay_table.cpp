#include "tools/replay_table.hpp"

#include "core/budget.hpp"
#include "policies/spec.hpp"
#include "tools/table.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

namespace kvtape {
namespace {

/// Share of the context that a policy may keep beyond what was asked before its cell is marked.
constexpr double tolerated_excess = 0.01;
/// More budgets than this stand below each other, one a line: nobody reads longer lines.
constexpr std::size_t most_columns = 16;
/// More marked cells of a policy than this are named by the first and the last.
constexpr std::size_t most_in_footnote = 8;

/// Where a row stands: `full`, `oracle`, all others by name, `random`.
using RowKey = std::tuple<int, std::string>;

std::string policy_name(const Cell& cell) {
    return cell.policy.substr(0, cell.policy.find(':'));
}

std::string row_name(const Cell& cell) {
    std::string name = cell.policy;
    if (cell.query_source != "agnostic" && policy_name(cell) != "oracle")
        name += " (" + cell.query_source + ")";
    return name;
}

RowKey row_key(const Cell& cell) {
    const std::map<std::string, int> places = {{"full", 0}, {"oracle", 1}, {"random", 3}};
    const auto place = places.find(policy_name(cell));
    return {place != places.end() ? place->second : 2, row_name(cell)};
}

bool keeps_more_than_asked(const Cell& cell) {
    return policy_name(cell) != "full" &&
           cell.summary.kept_ratio > cell.asked_ratio + tolerated_excess;
}

std::string formatted(const char* format, double number) {
    char text[32];
    std::snprintf(text, sizeof text, format, number);
    return text;
}

std::string cell_text(const Cell& cell, bool any_marked) {
    const auto& recall = cell.summary.needle_recall_weighted;
    std::string text = recall ? formatted("%.2f", recall->mean) : "-";
    if (any_marked)
        text += keeps_more_than_asked(cell) ? '*' : ' ';
    return text;
}

std::vector<std::string> budget_columns(const std::vector<Cell>& cells) {
    std::vector<Budget> budgets;
    for (const Cell& cell : cells)
        budgets.push_back(Budget::parse(cell.budget));
    std::sort(budgets.begin(), budgets.end());
    std::vector<std::string> columns;
    for (const Budget& budget : budgets)
        if (std::find(columns.begin(), columns.end(), budget.text()) == columns.end())
            columns.push_back(budget.text());
    return columns;
}

/// Cells of a row by column.
using Row = std::map<std::size_t, const Cell*>;

std::string kept_text(const Cell& cell) {
    // Halves go up, as on the page of kvtape report.
    return formatted("%.0f", std::floor(100.0 * cell.summary.kept_ratio + 0.5)) + " % at " +
           cell.budget;
}

/// What the marked cells of a row keep; empty when none is marked.
std::string excess_text(const Row& row) {
    std::vector<const Cell*> marked;
    for (const auto& [column, cell] : row)
        if (keeps_more_than_asked(*cell))
            marked.push_back(cell);
    if (marked.size() > most_in_footnote)
        return kept_text(*marked.front()) + " to " + kept_text(*marked.back()) + " (" +
               std::to_string(marked.size()) + " budgets)";
    std::string text;
    for (const Cell* cell : marked)
        text += (text.empty() ? "" : ", ") + kept_text(*cell);
    return text;
}

std::string footnote(const std::map<RowKey, Row>& rows) {
    std::string note;
    for (const auto& [key, row] : rows)
        if (const std::string kept = excess_text(row); !kept.empty())
            note += (note.empty() ? "* keeps more than asked: " : "; ") +
                    std::get<std::string>(key) + ' ' + kept;
    return note.empty() ? "" : note + '\n';
}

/// What the policies of the table are never shown without.
std::string caveats(const std::vector<Cell>& cells) {
    std::set<std::string> lines;
    for (const Cell& cell : cells)
        if (const std::string caveat = caveat_of(cell.policy); !caveat.empty())
            lines.insert(caveat + '\n');
    return std::accumulate(lines.begin(), lines.end(), std::string());
}

std::vector<std::vector<std::string>> transposed(
    const std::vector<std::vector<std::string>>& lines) {
    std::vector<std::vector<std::string>> turned(lines.front().size());
    for (const std::vector<std::string>& line : lines)
        for (std::size_t i = 0; i < line.size(); ++i)
            turned[i].push_back(line[i]);
    return turned;
}

}  // namespace

std::string replay_table(const std::vector<Cell>& cells) {
    const std::vector<std::string> columns = budget_columns(cells);
    const bool any_marked = std::any_of(cells.begin(), cells.end(), keeps_more_than_asked);
    std::map<RowKey, Row> rows;
    for (const Cell& cell : cells) {
        const auto column = std::find(columns.begin(), columns.end(), cell.budget);
        rows[row_key(cell)][static_cast<std::size_t>(column - columns.begin())] = &cell;
    }
    std::vector<std::vector<std::string>> text = {{"needle kept"}};
    for (const std::string& column : columns)
        text[0].push_back(any_marked ? column + ' ' : column);
    for (const auto& [key, row] : rows) {
        std::vector<std::string> line(columns.size() + 1);
        line[0] = std::get<std::string>(key);
        for (const auto& [column, cell] : row)
            line[column + 1] = cell_text(*cell, any_marked);
        text.push_back(line);
    }
    const bool turn = columns.size() > most_columns && columns.size() > rows.size();
    return text_table(turn ? transposed(text) : text) + footnote(rows) + caveats(cells);
}

}  // namespace kvtape
