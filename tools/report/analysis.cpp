#include "tools/report/cell_names.hpp"
#include "tools/report/chosen_rows.hpp"
#include "tools/report/gaps.hpp"
#include "tools/report/optional_table.hpp"
#include "tools/report/tables.hpp"

#include <algorithm>

namespace kvtape::report {
namespace {

namespace fs = std::filesystem;

constexpr int bins = 20;

std::vector<std::string> with_names(std::vector<std::string> columns) {
    columns.insert(columns.begin(), {"policy", "budget", "schedule", "query_source"});
    return columns;
}

bool is_over_all(const CsvTable& table, std::size_t row) {
    return table.text(row, "layer").empty() && table.text(row, "kv_head").empty();
}

Json interval(const CsvTable& table, std::size_t row, const std::string& column) {
    return {rounded(table.number(row, column)),
            rounded(table.number(row, column + "_low")),
            rounded(table.number(row, column + "_high"))};
}

/// For each cell over all heads: keep profile, correlation, slope, distance from the oracle.
Json bias(const fs::path& path, const Recall& recall) {
    std::vector<std::string> columns = with_names({"layer", "kv_head", "error"});
    for (const char* name : {"position_correlation", "keep_slope", "bias_vs_oracle"})
        for (const char* end : {"", "_low", "_high"})
            columns.push_back(std::string(name) + end);
    for (int bin = 0; bin < bins; ++bin)
        columns.push_back("keep_profile_" + std::to_string(bin));
    const CsvTable table = CsvTable::read(path, columns);
    const CellPlaces cells(recall);
    Json json(recall.cells.size(), Json());
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const auto cell = cells.of(table, row);
        if (!cell || !is_over_all(table, row))
            continue;
        Json one{{"correlation", interval(table, row, "position_correlation")},
                 {"slope", interval(table, row, "keep_slope")},
                 {"distance", interval(table, row, "bias_vs_oracle")},
                 {"error", table.text(row, "error")},
                 {"profile", Json::array()}};
        for (int bin = 0; bin < bins; ++bin)
            one["profile"].push_back(
                rounded(table.number(row, "keep_profile_" + std::to_string(bin))));
        json[*cell] = std::move(one);
    }
    return json;
}

/// For each cell `[layers * heads]` of how alike kept sets are, and by layer how many heads differ.
Json heads(const fs::path& path, const Recall& recall) {
    const std::vector<std::string> by_layer{
        "effective_heads_kept", "effective_heads_keys", "effective_heads_values"};
    std::vector<std::string> columns = with_names({"layer", "kv_head", "kept_jaccard"});
    columns.insert(columns.end(), by_layer.begin(), by_layer.end());
    const CsvTable table = CsvTable::read(path, columns);
    const CellPlaces cells(recall);
    const auto layers = static_cast<std::size_t>(recall.layers);
    const auto kv_heads = static_cast<std::size_t>(recall.heads);
    Json json(recall.cells.size(), Json());
    for (std::size_t row = 0; row < table.rows(); ++row) {
        const auto cell = cells.of(table, row);
        const double layer = table.number(row, "layer"), head = table.number(row, "kv_head");
        if (!cell || !(layer >= 0.0 && layer < static_cast<double>(layers)))
            continue;
        if (json[*cell].is_null())
            json[*cell] = {{"jaccard", Json(layers * kv_heads, Json())},
                           {"effective", Json(layers, Json())}};
        const auto place = static_cast<std::size_t>(layer);
        if (head >= 0.0 && head < static_cast<double>(kv_heads)) {
            const std::size_t at = place * kv_heads + static_cast<std::size_t>(head);
            json[*cell]["jaccard"][at] = rounded(table.number(row, "kept_jaccard"));
        } else if (table.text(row, "kv_head").empty()) {
            Json effective = Json::array();
            for (const std::string& column : by_layer)
                effective.push_back(rounded(table.number(row, column)));
            json[*cell]["effective"][place] = std::move(effective);
        }
    }
    return json;
}

/// For each cell `[layers * heads]` of the output error for the question and for the answer, and of
/// the worst single eviction for both.
Json damage(const fs::path& path, const Recall& recall) {
    const std::vector<std::string> kinds{"question", "answer", "all"};
    const CellPlaces cells(recall);
    const auto layers = static_cast<double>(recall.layers);
    const auto kv_heads = static_cast<double>(recall.heads);
    const auto places = static_cast<std::size_t>(recall.layers * recall.heads);
    Json json(recall.cells.size(), Json());
    visit_rows(
        path,
        with_names({"layer", "kv_head", "probes", "output_error_median", "leave_one_out_max"}),
        [&](const CsvRow& row) {
            const auto cell = cells.of({row.text(0), row.text(1), row.text(2), row.text(3)});
            const double layer = row.value(4), head = row.value(5);
            const auto kind = std::find(kinds.begin(), kinds.end(), row.text(6)) - kinds.begin();
            if (!cell || !(layer >= 0.0 && layer < layers && head >= 0.0 && head < kv_heads) ||
                kind == std::ssize(kinds))
                return;
            Json& one = json[*cell];
            for (const char* name : {"question", "answer", "single"})
                if (!one.contains(name))
                    one[name] = Json(places, Json());
            const auto at = static_cast<std::size_t>(layer * kv_heads + head);
            one[kind == 2 ? "single" : kinds[static_cast<std::size_t>(kind)]][at] =
                shortened(row.value(kind == 2 ? 8 : 7));
        });
    return json;
}

/// Whether a row is over all sequences.
auto of_all_tasks(const Recall& recall) {
    return [alone = recall.tasks.size() == 1](const CsvTable& table, std::size_t row) {
        return alone || table.text(row, "task") == "all";
    };
}

Json compare_by(const fs::path& path, const Recall& recall, const char* metric) {
    return chosen_rows(
        path,
        {"policy_a",
         "query_source_a",
         "budget_a",
         "kept_ratio_a",
         "policy_b",
         "query_source_b",
         "budget_b",
         "kept_ratio_b",
         "schedule",
         "metric",
         "mean_a",
         "mean_b",
         "difference",
         "difference_low",
         "difference_high",
         "wins",
         "ties",
         "losses",
         "task"},
        [&, is_chosen = of_all_tasks(recall)](const CsvTable& table, std::size_t row) {
            return is_chosen(table, row) && table.text(row, "metric") == metric;
        });
}

/// Recall of every pair first: where not all has room, attention mass is what is left out.
Json compare(const fs::path& path, const Recall& recall) {
    Json table = compare_by(path, recall, "needle_recall_weighted");
    const Json mass = compare_by(path, recall, "mass_kept");
    const bool has_room = table["left_out"] == 0;
    if (has_room)
        for (const Json& row : mass["rows"])
            table["rows"].push_back(row);
    table["left_out"] = table["left_out"].get<std::size_t>() + mass["left_out"].get<std::size_t>() +
                        (has_room ? 0 : mass["rows"].size());
    return table;
}

Json pareto(const fs::path& path, const Recall& recall) {
    return chosen_rows(path,
                       {"policy",
                        "budget",
                        "schedule",
                        "query_source",
                        "kept_bytes_ratio",
                        "needle_recall_weighted",
                        "needle_recall_weighted_low",
                        "needle_recall_weighted_high",
                        "on_front",
                        "dominated_by",
                        "task"},
                       of_all_tasks(recall));
}

Json paged(const fs::path& path) {
    return chosen_rows(path,
                       {"policy",
                        "budget",
                        "schedule",
                        "query_source",
                        "block",
                        "kept_ratio",
                        "held_ratio",
                        "paged_ratio",
                        "needle_recall_weighted",
                        "needle_recall_weighted_low",
                        "needle_recall_weighted_high",
                        "paged_recall_weighted",
                        "paged_recall_weighted_low",
                        "paged_recall_weighted_high",
                        "recall_lost",
                        "recall_lost_low",
                        "recall_lost_high",
                        "layer",
                        "kv_head"},
                       is_over_all);
}

Json queries(const fs::path& path, const Recall& recall) {
    return chosen_rows(path,
                       {"policy",
                        "budget",
                        "schedule",
                        "metric",
                        "agnostic",
                        "agnostic_low",
                        "agnostic_high",
                        "question",
                        "question_low",
                        "question_high",
                        "oracle",
                        "oracle_low",
                        "oracle_high",
                        "question_gain",
                        "question_gain_low",
                        "question_gain_high",
                        "oracle_gain",
                        "question_share",
                        "task"},
                       of_all_tasks(recall));
}

}  // namespace

Json analysis(Sources& sources) {
    std::string absent;
    Json tables = Json::object();
    const auto take = [&](const char* name, auto read) {
        const fs::path path = sources.directory / (std::string(name) + ".csv");
        if (!is_there(path))
            absent += (absent.empty() ? "" : ", ") + path.filename().string();
        tables[name] = optional_table(sources, path, read);
    };
    const Recall& recall = sources.recall;
    take("bias", [&](const fs::path& path) { return bias(path, recall); });
    take("heads", [&](const fs::path& path) { return heads(path, recall); });
    take("damage", [&](const fs::path& path) { return damage(path, recall); });
    take("compare", [&](const fs::path& path) { return compare(path, recall); });
    take("pareto", [&](const fs::path& path) { return pareto(path, recall); });
    take("paged", paged);
    take("queries", [&](const fs::path& path) { return queries(path, recall); });
    if (!absent.empty())
        sources.notes.push_back("Findings are left out, for want of " + absent +
                                ": kvtape analyze writes them into the directory");
    note_gaps(sources, tables);
    return tables;
}

}  // namespace kvtape::report
