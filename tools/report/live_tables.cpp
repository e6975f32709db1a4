#include "analyze/csv_table.hpp"
#include "tools/report/chosen_rows.hpp"
#include "tools/report/optional_table.hpp"
#include "tools/report/tables.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace kvtape::report {
namespace {

struct Sum {
    double sum = 0.0, count = 0.0, least = 1.0;
};

/// agreement.csv by result: mean and least Jaccard of the kept sets. The table has a row
/// for every block of every head, millions of them, those of one result in a row.
Json agreement(const std::filesystem::path& path) {
    using Name = std::array<std::string, 4>;
    std::vector<Name> order;
    std::map<Name, Sum> sums;
    auto current = sums.end();
    const std::vector<std::string> columns{
        "policy", "budget", "schedule", "query_source", "jaccard"};
    visit_rows(path, columns, [&](const CsvRow& row) {
        const auto is = [&](const Name& name) {
            return name[0] == row.text(0) && name[1] == row.text(1) && name[2] == row.text(2) &&
                   name[3] == row.text(3);
        };
        if (current == sums.end() || !is(current->first)) {
            const auto [entry, added] =
                sums.try_emplace(Name{row.text(0), row.text(1), row.text(2), row.text(3)});
            if (added)
                order.push_back(entry->first);
            current = entry;
        }
        Sum& sum = current->second;
        const double jaccard = row.value(4);
        sum.sum += jaccard;
        sum.count += 1.0;
        sum.least = std::min(sum.least, jaccard);
    });
    Json rows = Json::array();
    for (const Name& name : order) {
        const Sum& one = sums[name];
        rows.push_back(
            {name[0], name[1], name[2], name[3], rounded(one.sum / one.count), rounded(one.least)});
    }
    return {
        {"columns", {"policy", "budget", "schedule", "queries", "mean Jaccard", "least Jaccard"}},
        {"rows", rows},
        {"left_out", 0}};
}

}  // namespace

Json live_tables(Sources& sources) {
    if (sources.live.empty()) {
        const bool said =
            std::any_of(sources.notes.begin(), sources.notes.end(), [](const std::string& note) {
                return note.starts_with("Answers of the running model");
            });
        if (!said)
            sources.notes.push_back(
                "Answers of the running model are left out: neither DIR/live nor DIR has them; "
                "kvtape live and kvtape verify make them, --live names their directory");
        return {};
    }
    Json tables{{"agreement", optional_table(sources, sources.live / "agreement.csv", agreement)}};
    tables["calibration"] =
        optional_table(sources, sources.live / "calibration.csv", [](const auto& path) {
            return chosen_rows(path,
                               {"metric",
                                "task",
                                "cells",
                                "sequences",
                                "spearman",
                                "spearman_low",
                                "spearman_high",
                                "kendall",
                                "kendall_low",
                                "kendall_high"},
                               [](const CsvTable&, std::size_t) { return true; });
        });
    tables["drift"] = optional_table(sources, sources.live / "drift.csv", [](const auto& path) {
        return chosen_rows(path,
                           {"policy",
                            "budget",
                            "schedule",
                            "query_source",
                            "block",
                            "decoding",
                            "sequences",
                            "jaccard",
                            "jaccard_low",
                            "jaccard_high"},
                           [](const CsvTable&, std::size_t) { return true; });
    });
    return tables;
}

}  // namespace kvtape::report
