#include "tools/report/chosen_rows.hpp"
#include "tools/report/optional_table.hpp"
#include "tools/report/tables.hpp"

#include <algorithm>
#include <map>

namespace kvtape::report {
namespace {

struct Sum {
    double sum = 0.0, count = 0.0, least = 1.0;
};

/// agreement.csv by policy and budget: mean and least Jaccard of the kept sets.
Json agreement(const std::filesystem::path& path) {
    const CsvTable table = CsvTable::read(path, {"policy", "budget", "schedule", "jaccard"});
    std::vector<std::vector<std::string>> order;
    std::map<std::vector<std::string>, Sum> sums;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const std::vector<std::string> name{
            table.text(row, "policy"), table.text(row, "budget"), table.text(row, "schedule")};
        const auto [entry, added] = sums.try_emplace(name);
        if (added)
            order.push_back(name);
        const double jaccard = table.number(row, "jaccard");
        entry->second.sum += jaccard;
        entry->second.count += 1.0;
        entry->second.least = std::min(entry->second.least, jaccard);
    }
    Json rows = Json::array();
    for (const auto& name : order) {
        const Sum& sum = sums[name];
        rows.push_back(
            {name[0], name[1], name[2], rounded(sum.sum / sum.count), rounded(sum.least)});
    }
    return {{"columns", {"policy", "budget", "schedule", "mean Jaccard", "least Jaccard"}},
            {"rows", rows},
            {"left_out", 0}};
}

}  // namespace

Json live_tables(Sources& sources) {
    if (sources.live.empty()) {
        sources.notes.push_back(
            "Answers of the running model are left out: neither DIR/live nor DIR has them; kvtape "
            "live and kvtape verify make them, --live names their directory");
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
