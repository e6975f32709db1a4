#include "core/error.hpp"
#include "core/json.hpp"
#include "sim/csv.hpp"
#include "tools/analyzing.hpp"
#include "tools/progress.hpp"
#include "tools/run_record.hpp"
#include "tools/table.hpp"
#include "tools/text_file.hpp"
#include "tools/verb.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kvtape::verbs {
namespace {

namespace fs = std::filesystem;
namespace options = boost::program_options;

void declare(options::options_description& own,
             options::positional_options_description& positional) {
    own.add_options()  //
        ("dir",
         options::value<std::string>()->required()->value_name("DIR"),
         "results of replay; the tables go there too")  //
        ("trace",
         options::value<std::string>()->value_name("TRACE"),
         "the recording of the results; default: where replay read it")  //
        ("by",
         options::value<std::string>()->value_name("PARAMETER"),
         "also write by-PARAMETER.csv: results grouped by a parameter of their policies");
    positional.add("dir", 1);
}

/// Rows of a table over all heads of a result, its first columns naming it.
std::vector<std::map<std::string, std::string>> overall_rows(const std::string& table) {
    std::vector<std::map<std::string, std::string>> rows;
    const auto records = parse_csv(table, "a table");
    for (std::size_t i = 1; i < records.size(); ++i) {
        std::map<std::string, std::string> row;
        for (std::size_t column = 0; column < records[0].size(); ++column)
            row[records[0][column]] = records[i][column];
        const auto probes = row.find("probes");
        if (row["layer"].empty() && (probes == row.end() || probes->second == "all"))
            rows.push_back(std::move(row));
    }
    return rows;
}

std::string shortened(const std::string& number) {
    if (number.empty())
        return "-";
    char text[32];
    std::snprintf(text, sizeof text, "%.3f", std::strtod(number.c_str(), nullptr));
    return text;
}

/// The figures that are printed, of a table by its file name.
struct Shown {
    const char* file;
    const char* column;
    const char* head;
};
constexpr Shown shown_figures[] = {{"bias.csv", "position_correlation", "rho"},
                                   {"bias.csv", "keep_slope", "slope"},
                                   {"bias.csv", "bias_vs_oracle", "off oracle"},
                                   {"heads.csv", "effective_heads_kept", "heads"},
                                   {"damage.csv", "mass_kept", "mass"},
                                   {"damage.csv", "output_error_median", "error"}};

constexpr std::string_view legend =
    "rho: rank correlation of score and position, slope: of the kept share over the context\n"
    "(below 0: early tokens are preferred); off oracle: distance from the positions that the "
    "oracle\nkeeps, over the length; heads: how many keep something different; mass: attention of "
    "question and\nanswer that is kept; error: of the attention output (median).";

/// One row for each result.
void print_results(const Findings& findings, const fs::path& directory, bool as_json) {
    std::vector<std::vector<std::string>> table = {{"policy", "queries", "schedule", "budget"}};
    std::map<std::array<std::string, 5>, std::size_t> places;
    Json results = Json::array(), files = Json::array(), problems = Json::array();
    for (const FindingsTable& one : findings.tables)
        files.push_back(one.file);
    for (const Problem& problem : findings.problems)
        problems.push_back(problem.message);
    for (const Shown& figure : shown_figures) {
        const auto found = std::find_if(
            findings.tables.begin(), findings.tables.end(), [&](const FindingsTable& one) {
                return one.file == figure.file;
            });
        if (found == findings.tables.end())
            continue;
        const auto rows = overall_rows(found->text);
        table[0].push_back(figure.head);
        for (const auto& row : rows) {
            const auto [place, added] = places.emplace(std::array{row.at("policy"),
                                                                  row.at("parameters"),
                                                                  row.at("budget"),
                                                                  row.at("schedule"),
                                                                  row.at("query_source")},
                                                       results.size());
            const std::size_t at = place->second;
            if (added) {
                table.push_back({row.at("policy"),
                                 row.at("query_source"),
                                 row.at("schedule"),
                                 row.at("budget")});
                results.push_back({{"policy", row.at("policy")},
                                   {"query_source", row.at("query_source")},
                                   {"schedule", row.at("schedule")},
                                   {"budget", row.at("budget")}});
            }
            const std::string& value = row.at(figure.column);
            table[at + 1].resize(table[0].size(), "-");
            table[at + 1].back() = shortened(value);
            results[at][figure.column] =
                value.empty() ? Json() : Json(std::strtod(value.c_str(), nullptr));
        }
    }
    for (std::vector<std::string>& row : table)
        row.resize(table[0].size(), "-");
    if (as_json)
        std::cout << to_text({{"dir", directory.string()},
                              {"tables", files},
                              {"problems", problems},
                              {"results", results}})
                  << '\n';
    else
        std::cout << text_table(table) << '\n'
                  << legend << " More in " << (directory / "bias.csv").string() << '\n';
}

int exit_code_of(const std::vector<Problem>& problems) {
    if (problems.empty())
        return exit_done;
    return problems.front().kind == ErrorKind::io ? exit_io : exit_format;
}

/// A table of an earlier call that this one had to leave out would be taken for its own.
void remove_left_out(const fs::path& directory, const Findings& all) {
    for (const char* name : {"bias.csv",
                             "heads.csv",
                             "damage.csv",
                             "compare.csv",
                             "pareto.csv",
                             "queries.csv",
                             "paged.csv"})
        if (std::none_of(all.tables.begin(), all.tables.end(), [&](const FindingsTable& table) {
                return table.file == name;
            })) {
            std::error_code absent;
            fs::remove(directory / name, absent);
        }
}

int run(const Invocation& invocation) {
    const auto& values = invocation.values;
    const fs::path directory = values["dir"].as<std::string>();
    AnalysisRequest request{
        .directory = directory, .threads = invocation.common.threads, .trace = {}, .by = {}};
    if (values.count("trace") != 0)
        request.trace = values["trace"].as<std::string>();
    if (values.count("by") != 0)
        request.by = values["by"].as<std::string>();
    std::optional<Progress> shown;
    const Findings all = analyze_results(request, [&](auto done, auto steps) {
        if (!shown)
            shown.emplace("analyzing", steps, invocation.common.quiet);
        shown->update(done);
    });
    shown.reset();
    for (const FindingsTable& table : all.tables)
        write_text_file(directory / table.file, table.text);
    remove_left_out(directory, all);
    note_command(directory, "analyze", invocation);
    print_results(all, directory, invocation.common.json);
    for (const Problem& problem : all.problems)
        std::cerr << "kvtape: " << problem.message << '\n';
    return exit_code_of(all.problems);
}

}  // namespace

Verb analyze() {
    return {.name = "analyze",
            .synopsis = "analyze DIR",
            .summary = "finds bias, redundancy, damage and differences in the results of a replay",
            .examples =
                "  kvtape analyze results\n"
                "  kvtape analyze results --trace run.kvtape.h5\n"
                "  kvtape analyze results --by lag\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
