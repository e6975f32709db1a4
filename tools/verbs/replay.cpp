#include "core/error.hpp"
#include "tools/replay_options.hpp"
#include "tools/replay_table.hpp"
#include "tools/replaying.hpp"
#include "tools/report/page.hpp"
#include "tools/verb.hpp"
#include "tools/visible_text.hpp"
#include "trace/reader.hpp"

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;

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

/// Whether `directory` holds nothing, or is not there.
bool holds_nothing(const std::filesystem::path& directory) {
    std::error_code absent;
    return !std::filesystem::exists(directory) || std::filesystem::is_empty(directory, absent);
}

/// report.html beside the tables; what is missing in it goes to standard error.
void write_report(const Invocation& invocation, const std::filesystem::path& out) {
    const std::filesystem::path page = out / "report.html";
    const std::vector<std::string> notes =
        report::write_page({.directory = out,
                            .trace = invocation.values["trace"].as<std::string>(),
                            .live = {},
                            .threads = invocation.common.threads},
                           page);
    if (invocation.common.quiet)
        return;
    for (const std::string& note : notes)
        std::cerr << "kvtape: " << visible_text(note) << '\n';
    std::cerr << "kvtape: to look at it, open " << page.string() << " in a browser\n";
}

void declare(options::options_description& own,
             options::positional_options_description& positional) {
    own.add_options()  //
        ("trace",
         options::value<std::string>()->required()->value_name("TRACE"),
         "trace to replay over");
    declare_replaying(own);
    own.add_options()                                                                       //
        ("layers", options::value<std::string>()->value_name("LIST"), "only these layers")  //
        ("curve", "also write curve.csv: recall and mass at every budget")                  //
        ("report", "also write report.html, a page to look at (kvtape report)")             //
        ("partial", "read the finished sequences of an unfinished trace")                   //
        ("twice", "replay a second time and compare the files byte by byte");
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
    const Compared compared = holds_nothing(out) ? Compared::everything : Compared::decisions;
    if (!invocation.common.quiet)
        for (const std::string& line : read_replay_options(invocation, *trace).left_out)
            std::cerr << "kvtape: " << line << '\n';
    const Tables tables = replay_and_tabulate(invocation, *trace, out);
    if (invocation.common.json)
        std::cout << Json{{"out", out.string()}, {"results", cells_as_json(tables.cells)}}.dump()
                  << '\n';
    else
        std::cout << replay_table(tables.cells)
                  << "\nShare of the needle that is still in the cache when the answer begins "
                     "(weighted needle\nrecall, mean over sequences). More in "
                  << (out / "summary.csv").string() << '\n';
    int code = exit_done;
    if (values.count("twice") != 0)
        for (const std::string& name :
             differences_of_second_run(invocation, *trace, out, compared)) {
            std::cerr << "kvtape: replaying twice: " << name << " differs\n";
            code = exit_difference;
        }
    if (values.count("report") != 0)
        write_report(invocation, out);
    return code;
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
            "      --query-source question --scores --out results\n"
            "  kvtape replay run.kvtape.h5 --policy snapkv --budget 10% --curve --out results\n"
            "\nChecksums of what is read are verified; kvtape check also recomputes the "
            "fingerprint.\n",
        .declare = declare,
        .run = run};
}

}  // namespace kvtape::verbs
