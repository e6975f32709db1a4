#include "analyze/comparison.hpp"
#include "analyze/findings.hpp"
#include "analyze/pareto.hpp"
#include "analyze/query_sources.hpp"
#include "analyze/result_files.hpp"
#include "analyze/sweep.hpp"
#include "core/error.hpp"
#include "core/json.hpp"
#include "sim/csv.hpp"
#include "tools/progress.hpp"
#include "tools/table.hpp"
#include "tools/text_file.hpp"
#include "tools/verb.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
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

/// Where `replay` read the recording, by run.json; empty where that does not say.
fs::path noted_trace(const fs::path& directory) {
    std::ifstream file(directory / "run.json", std::ios::binary);
    if (!file)
        return {};
    std::ostringstream text;
    text << file.rdbuf();
    try {
        const Json record = parse_json(text.str(), (directory / "run.json").string());
        return record.value("trace", std::string());
    } catch (const std::exception&) {
        return {};
    }
}

/// The recording, or none and a problem.
std::unique_ptr<Trace> open_recording(const Invocation& invocation,
                                      const fs::path& directory,
                                      std::vector<Problem>& problems) {
    const bool named = invocation.values.count("trace") != 0;
    const fs::path path =
        named ? fs::path(invocation.values["trace"].as<std::string>()) : noted_trace(directory);
    if (named)
        return open_trace(path, Unfinished::refuse, invocation.common.threads);
    if (path.empty() || !fs::exists(path)) {
        problems.push_back(
            {ErrorKind::io,
             "analyzing " + directory.string() + ": the recording " +
                 (path.empty() ? std::string("of its results") : path.string()) +
                 " is not there, so heads.csv, damage.csv and paged.csv are left out; name it with "
                 "--trace"});
        return nullptr;
    }
    try {
        return open_trace(path, Unfinished::refuse, invocation.common.threads);
    } catch (const Error& error) {
        problems.push_back({error.kind(), error.what()});
        return nullptr;
    }
}

/// Rows of a table over all heads of a result, its first columns naming it.
std::vector<std::map<std::string, std::string>> overall_rows(const std::string& table) {
    std::vector<std::map<std::string, std::string>> rows;
    const auto records = parse_csv(table, "a table");
    for (std::size_t i = 1; i < records.size(); ++i) {
        std::map<std::string, std::string> row;
        for (std::size_t column = 0; column < records[0].size(); ++column)
            row[records[0][column]] = records[i][column];
        if (row["layer"].empty())
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
                                   {"bias.csv", "bias_vs_oracle", "off oracle"}};

constexpr std::string_view legend =
    "rho: rank correlation of score and position, slope: of the kept share over the context\n"
    "(below 0: early tokens are preferred); off oracle: distance from the positions that the "
    "oracle\nkeeps, over the length.";

/// One row for each result.
void print_results(const Findings& findings, const fs::path& directory, bool as_json) {
    std::vector<std::vector<std::string>> table = {{"policy", "queries", "budget"}};
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
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto& row = rows[i];
            if (table.size() == i + 1) {
                table.push_back({row.at("policy"), row.at("query_source"), row.at("budget")});
                results.push_back({{"policy", row.at("policy")},
                                   {"query_source", row.at("query_source")},
                                   {"schedule", row.at("schedule")},
                                   {"budget", row.at("budget")}});
            }
            const std::string& value = row.at(figure.column);
            table[i + 1].push_back(shortened(value));
            results[i][figure.column] =
                value.empty() ? Json() : Json(std::strtod(value.c_str(), nullptr));
        }
    }
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

/// Measures heads: the tables of a pass over the decision files.
void add_findings(const Invocation& invocation, const ResultFiles& files, Findings& to) {
    const std::unique_ptr<Trace> trace =
        open_recording(invocation, invocation.values["dir"].as<std::string>(), to.problems);
    std::optional<Progress> shown;
    const Findings found = findings_of(
        files.results, trace.get(), invocation.common.threads, [&](auto done, auto all) {
            if (!shown)
                shown.emplace("analyzing", all, invocation.common.quiet);
            shown->update(done);
        });
    to.tables.insert(to.tables.end(), found.tables.begin(), found.tables.end());
    to.problems.insert(to.problems.end(), found.problems.begin(), found.problems.end());
}

/// Compares results: the tables made from recall.csv.
void add_comparisons(const Invocation& invocation, const fs::path& directory, Findings& to) {
    const Bootstrap bootstrap;
    std::vector<MeasuredResult> results;
    try {
        results = read_measured_results(directory);
    } catch (Error& error) {
        error.add("compare.csv, pareto.csv and queries.csv are left out");
        to.problems.push_back({error.kind(), error.what()});
        return;
    }
    to.tables.push_back(
        {"compare.csv", comparison_table(results, bootstrap, invocation.common.threads)});
    to.tables.push_back({"pareto.csv", pareto_table(results, bootstrap)});
    to.tables.push_back({"queries.csv", query_source_table(results, bootstrap)});
    if (invocation.values.count("by") == 0)
        return;
    const auto parameter = invocation.values["by"].as<std::string>();
    to.tables.push_back({"by-" + parameter + ".csv", sweep_table(results, parameter, bootstrap)});
}

int run(const Invocation& invocation) {
    const fs::path directory = invocation.values["dir"].as<std::string>();
    const ResultFiles files = open_result_files(directory, "");
    Findings all{.tables = {}, .problems = files.problems};
    add_comparisons(invocation, directory, all);
    add_findings(invocation, files, all);
    for (const FindingsTable& table : all.tables)
        write_text_file(directory / table.file, table.text);
    print_results(all, directory, invocation.common.json);
    for (const Problem& problem : all.problems)
        std::cerr << "kvtape: " << problem.message << '\n';
    return exit_code_of(all.problems);
}

}  // namespace

Verb analyze() {
    return {.name = "analyze",
            .synopsis = "analyze DIR",
            .summary = "finds score bias, damage and differences in the results of a replay",
            .examples =
                "  kvtape analyze results\n"
                "  kvtape analyze results --trace run.kvtape.h5\n"
                "  kvtape analyze results --by lag\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
