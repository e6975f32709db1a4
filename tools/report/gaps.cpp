#include "tools/report/gaps.hpp"

#include "analyze/comparison.hpp"
#include "tools/report/cell_names.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace kvtape::report {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_named = 8;

const std::vector<std::string> name_columns{"policy", "budget", "schedule", "query_source"};

/// Over all tasks, as the page shows results.
bool is_over_all(const Recall& recall, const std::string& task) {
    return recall.tasks.size() == 1 || task == "all";
}

/// Whether some sequence has the same figure under all of `cells`.
bool share_a_figure(const std::vector<const Cell*>& cells) {
    for (const auto figure :
         {&Figures::weighted, &Figures::recall, &Figures::mass, &Figures::error})
        for (const SequenceFigures& one : cells.front()->sequences)
            if (std::all_of(cells.begin(), cells.end(), [&](const Cell* cell) {
                    return std::any_of(cell->sequences.begin(),
                                       cell->sequences.end(),
                                       [&](const SequenceFigures& other) {
                                           return other.sequence == one.sequence &&
                                                  (other.figures.*figure).has_value();
                                       });
                }))
                return true;
    return false;
}

double per_head(const KeptTotals& totals) {
    return static_cast<double>(totals.kept) / static_cast<double>(totals.heads);
}

bool has(const Cell& cell, std::optional<double> Figures::*figure) {
    return std::any_of(cell.sequences.begin(), cell.sequences.end(), [&](const auto& one) {
        return (one.figures.*figure).has_value();
    });
}

/// What analyze should have written of the results of a directory, against what is there.
class Gaps {
  public:
    Gaps(Sources& sources, const Json& tables)
        : sources_(sources),
          tables_(tables),
          recall_(sources.recall),
          places_(recall_),
          of_series_(recall_.series.size()),
          is_analyzed_(recall_.cells.size(), true) {
        for (std::size_t i = 0; i < recall_.cells.size(); ++i) {
            of_series_[recall_.cells[i].series].push_back(i);
            totals_.push_back(recall_.cells[i].kept());
        }
        if (is_read("bias")) {
            const std::vector<std::size_t> rows = rows_by_cell("bias");
            for (std::size_t i = 0; i < rows.size(); ++i)
                is_analyzed_[i] = rows[i] > 0;
        }
    }

    void note() {
        for (const char* table : {"bias", "heads", "damage", "paged"})
            if (is_read(table))
                note_lacking(table, by_head(table));
        if (is_read("pareto"))
            note_lacking("pareto", of_pareto());
        if (is_read("compare"))
            note_lacking("compare", of_pairs());
        if (is_read("queries"))
            note_lacking("queries", of_queries());
    }

  private:
    using Flags = std::vector<bool>;

    bool is_read(const char* table) const {
        return tables_.contains(table) && !tables_[table].is_null();
    }
    fs::path path_of(const char* table) const {
        return sources_.directory / (std::string(table) + ".csv");
    }

    std::vector<std::size_t> rows_by_cell(const char* table) const {
        std::vector<std::size_t> rows(recall_.cells.size(), 0);
        visit_rows(path_of(table), name_columns, [&](const CsvRow& row) {
            if (const auto cell = places_.of({row.text(0), row.text(1), row.text(2), row.text(3)}))
                ++rows[*cell];
        });
        return rows;
    }

    /// Results of the same sequences and heads have as many rows; those with less lack some.
    Flags by_head(const char* table) const {
        const std::vector<std::size_t> rows = rows_by_cell(table);
        std::map<std::vector<std::size_t>, std::size_t> most;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            std::size_t& known = most[extent(recall_.cells[i])];
            known = std::max(known, rows[i]);
        }
        Flags lacks(rows.size(), false);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const Cell& cell = recall_.cells[i];
            const bool has_rows = table != std::string("damage") || has(cell, &Figures::mass);
            lacks[i] = has_rows && rows[i] < std::max<std::size_t>(1, most[extent(cell)]);
        }
        return lacks;
    }

    /// The sequences of a result, and how many heads of them it has.
    static std::vector<std::size_t> extent(const Cell& cell) {
        std::vector<std::size_t> found;
        for (const SequenceFigures& one : cell.sequences) {
            found.push_back(one.sequence);
            found.push_back(static_cast<std::size_t>(one.heads));
        }
        return found;
    }

    /// A row for every task with needles, and one for all where there are several.
    Flags of_pareto() const {
        const std::vector<std::size_t> rows = rows_by_cell("pareto");
        Flags lacks(rows.size(), false);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            std::set<std::size_t> tasks;
            for (const SequenceFigures& one : recall_.cells[i].sequences)
                if (one.figures.weighted)
                    tasks.insert(recall_.task_of[one.sequence]);
            const bool has_all = recall_.tasks.size() > 1 && !tasks.empty();
            lacks[i] = rows[i] < tasks.size() + (has_all ? 1 : 0);
        }
        return lacks;
    }

    /// The result of `rival` that kept most nearly what `a` kept, where that is as much: analyze
    /// compares these.
    std::optional<std::size_t> equal_of(std::size_t a, std::size_t rival) const {
        const auto distance = [&](std::size_t i) {
            return std::abs(per_head(totals_[i]) - per_head(totals_[a]));
        };
        std::optional<std::size_t> best;
        for (const std::size_t i : of_series_[rival])
            if (is_analyzed_[i] && (!best || distance(i) < distance(*best)))
                best = i;
        return best && equal_budgets(totals_[a], totals_[*best]) ? best : std::nullopt;
    }

    /// Results that should stand first in a pair of compare.csv: against every later series of
    /// their schedule.
    Flags of_pairs() const {
        std::set<std::vector<std::string>> pairs;
        visit_rows(path_of("compare"),
                   {"policy_a",
                    "budget_a",
                    "schedule",
                    "query_source_a",
                    "policy_b",
                    "query_source_b",
                    "task"},
                   [&](const CsvRow& row) {
                       if (is_over_all(recall_, row.text(6)))
                           pairs.insert({row.text(0),
                                         row.text(1),
                                         row.text(2),
                                         row.text(3),
                                         row.text(4),
                                         row.text(5)});
                   });
        const auto is_there = [&](const Cell& a, const Cell& b) {
            return pairs.contains(
                {a.policy, a.budget, a.schedule, a.query_source, b.policy, b.query_source});
        };
        Flags lacks(recall_.cells.size(), false);
        for (std::size_t i = 0; i < lacks.size(); ++i) {
            const Cell& a = recall_.cells[i];
            for (std::size_t rival = a.series + 1; rival < of_series_.size(); ++rival) {
                const Cell& first = recall_.cells[of_series_[rival].front()];
                if (lacks[i] || !is_analyzed_[i] || first.schedule != a.schedule)
                    continue;
                if (const auto b = equal_of(i, rival)) {
                    // Results that were added since may have turned the order round.
                    const Cell& other = recall_.cells[*b];
                    lacks[i] =
                        !is_there(a, other) && !is_there(other, a) && share_a_figure({&a, &other});
                }
            }
        }
        return lacks;
    }

    /// Results that differ from others by whose queries voted, and by nothing else.
    Flags of_queries() const {
        std::set<std::vector<std::string>> there;
        visit_rows(
            path_of("queries"), {"policy", "budget", "schedule", "task"}, [&](const CsvRow& row) {
                if (is_over_all(recall_, row.text(3)))
                    there.insert({row.text(0), row.text(1), row.text(2)});
            });
        std::map<std::vector<std::string>, std::vector<std::size_t>> alike;
        for (std::size_t i = 0; i < recall_.cells.size(); ++i) {
            const Cell& cell = recall_.cells[i];
            if (is_analyzed_[i])
                alike[{cell.policy, cell.budget, cell.schedule}].push_back(i);
        }
        Flags lacks(recall_.cells.size(), false);
        for (const auto& [name, cells] : alike) {
            std::vector<const Cell*> together;
            for (const std::size_t i : cells)
                together.push_back(&recall_.cells[i]);
            if (cells.size() > 1 && !there.contains(name) && share_a_figure(together))
                for (const std::size_t i : cells)
                    lacks[i] = true;
        }
        return lacks;
    }

    void note_lacking(const char* table, const Flags& lacks) {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < lacks.size(); ++i)
            if (lacks[i] && is_analyzed_[i])
                names.push_back(recall_.series[recall_.cells[i].series] + " at " +
                                recall_.cells[i].budget);
        if (!names.empty())
            sources_.notes.push_back(path_of(table).filename().string() +
                                     " lacks rows, which kvtape analyze adds, of " +
                                     listed(names,
                                            static_cast<std::size_t>(std::count(
                                                is_analyzed_.begin(), is_analyzed_.end(), true)),
                                            "analyzed results"));
    }

    Sources& sources_;
    const Json& tables_;
    const Recall& recall_;
    CellPlaces places_;
    std::vector<std::vector<std::size_t>> of_series_;  ///< cells
    std::vector<KeptTotals> totals_;                   ///< of each cell
    Flags is_analyzed_;
};

}  // namespace

void note_gaps(Sources& sources, const Json& tables) {
    Gaps(sources, tables).note();
}

std::string listed(const std::vector<std::string>& names,
                   std::size_t all,
                   const std::string& what) {
    std::string text =
        std::to_string(names.size()) + " of " + std::to_string(all) + " " + what + ": ";
    for (std::size_t i = 0; i < std::min(names.size(), most_named); ++i)
        text += (i == 0 ? "" : "; ") + names[i];
    if (names.size() > most_named)
        text += "; and " + std::to_string(names.size() - most_named) + " further";
    return text;
}

}  // namespace kvtape::report
