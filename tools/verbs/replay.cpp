#include "core/error.hpp"
#include "core/kernels.hpp"
#include "sim/tables.hpp"
#include "tools/progress.hpp"
#include "tools/replay_options.hpp"
#include "tools/table.hpp"
#include "tools/verb.hpp"
#include "trace/reader.hpp"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <unistd.h>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;
using Clock = std::chrono::steady_clock;

constexpr std::string_view producer = "kvtape " KVTAPE_VERSION;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Shows one job on standard error; starts with its first step.
StepReport reporter(std::optional<Progress>& shown, std::string_view what, bool quiet) {
    return [&shown, what, quiet](std::int64_t done, std::int64_t all) {
        if (!shown)
            shown.emplace(what, all, quiet);
        shown->update(done);
    };
}

std::string two_digits(const std::optional<Interval>& interval) {
    if (!interval)
        return "-";
    char text[16];
    std::snprintf(text, sizeof text, "%.2f", interval->mean);
    return text;
}

std::string percent(double share) {
    char text[16];
    std::snprintf(text, sizeof text, "%.0f%%", 100.0 * share);
    return text;
}

/// By how much the realised share exceeds the ratio asked for; 0 for other units and for `full`.
double kept_over_budget(const Cell& cell) {
    const std::optional<Ratio> asked = Budget::parse(cell.budget).ratio();
    return asked && cell.policy != "full" ? cell.summary.kept_ratio - asked->value() : 0.0;
}

/// Name of a row: the spec, and what is not the default.
std::string row_name(const Cell& cell) {
    std::string name = cell.policy;
    if (cell.query_source != "agnostic" && cell.policy != "oracle")
        name += " (" + cell.query_source + ")";
    return name;
}

std::string printed_table(const std::vector<Cell>& cells) {
    std::vector<Budget> budgets;
    for (const Cell& cell : cells)
        budgets.push_back(Budget::parse(cell.budget));
    std::sort(budgets.begin(), budgets.end());
    std::vector<std::string> head = {"needle kept"};
    for (const Budget& budget : budgets)
        if (head.back() != budget.text())
            head.push_back(budget.text());
    std::vector<std::vector<std::string>> rows = {head};
    std::map<std::string, std::vector<std::string>> excess;
    for (const Cell& cell : cells) {
        if (rows.size() == 1 || rows.back()[0] != row_name(cell)) {
            rows.emplace_back(head.size(), "");
            rows.back()[0] = row_name(cell);
        }
        const auto column = std::find(head.begin(), head.end(), cell.budget) - head.begin();
        rows.back()[static_cast<std::size_t>(column)] =
            two_digits(cell.summary.needle_recall_weighted);
        if (const double over = kept_over_budget(cell); over > 0.01)
            excess[row_name(cell)].push_back(percent(cell.summary.kept_ratio) + " at " +
                                             cell.budget);
    }
    std::string text = text_table(rows);
    for (const auto& [name, kept] : excess) {
        text += "\n" + name + " keeps more than was asked:";
        for (std::size_t i = 0; i < kept.size(); ++i)
            text += (i == 0 ? " " : ", ") + kept[i];
        text += '\n';
    }
    return text;
}

Json cells_as_json(const std::vector<Cell>& cells) {
    Json list = Json::array();
    for (const Cell& cell : cells) {
        const auto number = [](const std::optional<double>& value) {
            return value ? Json(*value) : Json();
        };
        const auto& weighted = cell.summary.needle_recall_weighted;
        list.push_back({{"policy", cell.policy},
                        {"budget", cell.budget},
                        {"schedule", cell.schedule},
                        {"query_source", cell.query_source},
                        {"sequences", cell.summary.sequences},
                        {"kept_ratio", cell.summary.kept_ratio},
                        {"needle_recall_weighted", weighted ? Json(weighted->mean) : Json()},
                        {"needle_recall_weighted_low", weighted ? Json(weighted->low) : Json()},
                        {"needle_recall_weighted_high", weighted ? Json(weighted->high) : Json()},
                        {"mass_kept", number(cell.summary.mass_kept)},
                        {"output_error_median", number(cell.summary.output_error_median)}});
    }
    return list;
}

/// What may differ between two runs: times, machine, versions.
Json run_record(const Invocation& invocation, double replay_seconds, double table_seconds) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    char date[32] = "";
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
    return {{"command", invocation.command_line},
            {"producer", producer},
            {"date_utc", date},
            {"host", host},
            {"compiler", __VERSION__},
            {"isa", name_of(active_isa())},
            {"threads", invocation.common.threads},
            {"seed", invocation.common.seed},
            {"bootstrap", {{"seed", bootstrap_seed}, {"resamples", bootstrap_resamples}}},
            {"replay_seconds", replay_seconds},
            {"table_seconds", table_seconds}};
}

/// Replays into `out` and writes the tables there.
Tables replay_and_tabulate(const Invocation& invocation,
                           const Trace& trace,
                           const std::filesystem::path& out) {
    const ReplayOptions asked = read_replay_options(invocation, trace);
    const std::vector<ReplayTask> tasks = asked.tasks();
    check_feasible(asked.request, tasks);
    const Clock::time_point begin = Clock::now();
    ResultDirectory directory(out, trace);
    std::optional<Progress> replaying, tabulating;
    const bool quiet = invocation.common.quiet;
    replay_into(directory,
                asked.request,
                tasks,
                invocation.values.count("scores") != 0 ? StoreScores::yes : StoreScores::no,
                std::string(producer),
                reporter(replaying, "replaying", quiet));
    replaying.reset();
    const double replay_seconds = seconds_since(begin);
    Tables tables = make_tables(trace,
                                directory.results(),
                                invocation.common.threads,
                                reporter(tabulating, "measuring", quiet));
    tabulating.reset();
    directory.write("recall.csv", tables.recall_csv);
    directory.write("summary.csv", tables.summary_csv);
    if (!tables.autopsy_csv.empty())
        directory.write("autopsy.csv", tables.autopsy_csv);
    directory.write(
        "run.json",
        run_record(invocation, replay_seconds, seconds_since(begin) - replay_seconds).dump(2) +
            "\n");
    return tables;
}

std::string content(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Replays once more into a directory beside `out` and compares every file but run.json byte by
/// byte; returns the names of those that differ.
std::vector<std::string> differences_of_second_run(const Invocation& invocation,
                                                   const Trace& trace,
                                                   const std::filesystem::path& out) {
    const std::filesystem::path second = out.string() + ".twice";
    if (std::filesystem::exists(second))
        throw usage_error("replaying twice: " + second.string() + " is in the way; remove it");
    replay_and_tabulate(invocation, trace, second);
    std::vector<std::string> differing;
    for (const auto& entry : std::filesystem::directory_iterator(second)) {
        const std::filesystem::path name = entry.path().filename();
        const bool decisions_only = name.string().ends_with(".decisions.h5");
        if (decisions_only && content(entry.path()) != content(out / name))
            differing.push_back(name.string());
    }
    std::filesystem::remove_all(second);
    return differing;
}

void declare(options::options_description& own,
             options::positional_options_description& positional) {
    own.add_options()  //
        ("trace",
         options::value<std::string>()->required()->value_name("TRACE"),
         "trace to replay over")  //
        ("policy",
         options::value<std::vector<std::string>>()->composing()->value_name("SPEC"),
         "policy with parameters: lagkv:lag=64,sinks=4 (repeatable)")  //
        ("policies",
         options::value<std::string>()->value_name("all"),
         "every policy the trace can feed, at default parameters")  //
        ("budget",
         options::value<std::string>()->required()->value_name("LIST"),
         "what is kept: 0.25, 25%, 128t, 4MiB, 1%..50%:8, comma-separated")  //
        ("schedule",
         options::value<std::string>()->default_value("prefill")->value_name("S"),
         "when a policy decides")  //
        ("query-source",
         options::value<std::string>()->default_value("agnostic")->value_name("Q"),
         "whose queries vote: agnostic, question or oracle")  //
        ("out",
         options::value<std::string>()->required()->value_name("DIR"),
         "directory of the results; what is there already is kept")                       //
        ("tasks", options::value<std::string>()->value_name("LIST"), "only these tasks")  //
        ("sequences",
         options::value<std::string>()->value_name("LIST"),
         "only these sequences: 0,3,7")                                                     //
        ("layers", options::value<std::string>()->value_name("LIST"), "only these layers")  //
        ("scores", "store scores and write autopsy.csv")                                    //
        ("partial", "read the finished sequences of an unfinished trace")                   //
        ("twice", "replay a second time and compare the decision files byte by byte");
    positional.add("trace", 1);
}

int run(const Invocation& invocation) {
    const auto& values = invocation.values;
    if (values["out"].as<std::string>().empty())
        throw usage_error("--out is empty; name the directory of the results");
    const std::unique_ptr<Trace> trace =
        open_trace(values["trace"].as<std::string>(),
                   values.count("partial") != 0 ? Unfinished::allow : Unfinished::refuse,
                   invocation.common.threads);
    const std::filesystem::path out = values["out"].as<std::string>();
    const Tables tables = replay_and_tabulate(invocation, *trace, out);
    if (invocation.common.json)
        std::cout << Json{{"out", out.string()}, {"results", cells_as_json(tables.cells)}}.dump()
                  << '\n';
    else
        std::cout << printed_table(tables.cells)
                  << "\nShare of the needle that is still in the cache when the answer begins "
                     "(weighted needle\nrecall, mean over sequences). More in "
                  << (out / "summary.csv").string() << '\n';
    if (values.count("twice") == 0)
        return exit_done;
    const std::vector<std::string> differing = differences_of_second_run(invocation, *trace, out);
    for (const std::string& name : differing)
        std::cerr << "kvtape: replaying twice: " << name << " differs\n";
    return differing.empty() ? exit_done : exit_difference;
}

}  // namespace

Verb replay() {
    return {
        .name = "replay",
        .synopsis = "replay TRACE --policy SPEC [--policy SPEC]... --budget LIST --out DIR",
        .summary = "applies policies at budgets to a trace and measures what they lose",
        .examples =
            "  kvtape replay run.kvtape.h5 --policies all --budget 5%,10%,25%,50% --out results\n"
            "  kvtape replay run.kvtape.h5 --policy lagkv:lag=64 --policy snapkv \\\n"
            "      --budget 1%..50%:8 --out results\n"
            "  kvtape replay run.kvtape.h5 --policy snapkv:window=32 --budget 128t \\\n"
            "      --query-source question --scores --out results\n",
        .declare = declare,
        .run = run};
}

}  // namespace kvtape::verbs
