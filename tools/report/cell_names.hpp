#pragma once

#include "analyze/csv_table.hpp"
#include "tools/report/figures.hpp"

#include <array>
#include <map>
#include <optional>
#include <string>

namespace kvtape::report {

/// Policy, budget, schedule and query source: the columns that tell results apart in every table.
using CellName = std::array<std::string, 4>;

inline CellName name_of(const Cell& cell) {
    return {cell.policy, cell.budget, cell.schedule, cell.query_source};
}

/// Places in `Recall::cells` by name.
class CellPlaces {
  public:
    explicit CellPlaces(const Recall& recall) {
        for (std::size_t i = 0; i < recall.cells.size(); ++i)
            places_[name_of(recall.cells[i])] = i;
    }
    std::optional<std::size_t> of(const CellName& name) const {
        const auto found = places_.find(name);
        return found == places_.end() ? std::nullopt : std::optional(found->second);
    }
    std::optional<std::size_t> of(const CsvTable& table, std::size_t row) const {
        return of({table.text(row, "policy"),
                   table.text(row, "budget"),
                   table.text(row, "schedule"),
                   table.text(row, "query_source")});
    }

  private:
    std::map<CellName, std::size_t> places_;
};

}  // namespace kvtape::report
