#include "analyze/verification.hpp"
#include "core/error.hpp"
#include "policies/spec.hpp"
#include "tools/agreement_tables.hpp"
#include "tools/run_record.hpp"
#include "tools/table.hpp"
#include "tools/text_file.hpp"
#include "tools/verb.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

namespace kvtape::verbs {
namespace {

namespace fs = std::filesystem;
namespace options = boost::program_options;

void declare(options::options_description& own, options::positional_options_description& order) {
    own.add_options()  //
        ("a",
         options::value<std::string>()->required()->value_name("REPLAY_DIR"),
         "results of replay (or of another live run)")  //
        ("b",
         options::value<std::string>()->required()->value_name("LIVE_DIR"),
         "results of live over the same trace")  //
        ("out",
         options::value<std::string>()->value_name("DIR"),
         "where the tables go; default: LIVE_DIR");
    order.add("a", 1);
    order.add("b", 1);
}

std::string three_places(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3f", number);
    return text;
}

/// Whether both loops show the policy the same, so that nothing may differ: it decides once, after
/// a prompt that was processed with the whole cache.
bool must_agree(const ResultPair& pair) {
    const bool once = pair.schedule == "prefill" || pair.schedule == "prompt";
    return once && make_policy(pair.policy).policy->needs().block == 0;
}

std::string calibration_text(const std::vector<MetricCalibration>& rows) {
    std::vector<std::vector<std::string>> table = {
        {"metric against live accuracy", "cells", "Spearman", "95 %", "Kendall"}};
    for (const MetricCalibration& row : rows) {
        if (!row.task.empty())
            continue;
        const auto value = [](const std::optional<Correlation>& correlation) {
            return correlation ? three_places(correlation->value) : std::string("-");
        };
        const auto& spearman = row.calibration.spearman;
        table.push_back({row.metric,
                         std::to_string(row.calibration.cells),
                         value(spearman),
                         spearman && !std::isnan(spearman->low)
                             ? three_places(spearman->low) + ".." + three_places(spearman->high)
                             : "-",
                         value(row.calibration.kendall)});
    }
    return text_table(table);
}

/// Where the tables go.
fs::path folder_of_tables(const Invocation& invocation) {
    const char* const option = invocation.values.count("out") != 0 ? "out" : "b";
    const fs::path out = invocation.values[option].as<std::string>();
    if (out.empty() || (fs::exists(out) && !fs::is_directory(out)))
        throw usage_error("verifying: --out '" + out.string() + "' is not a directory");
    return out;
}

void make_folder(const fs::path& folder) {
    std::error_code failure;
    fs::create_directories(folder, failure);
    if (failure)
        throw io_error("verifying: making the directory " + folder.string() + ": " +
                       failure.message());
}

/// Agreement of every pair: as tables, as text, as JSON.
struct Agreement {
    AgreementTables tables;
    std::vector<std::vector<std::string>> shown = {
        {"policy", "budget", "schedule", "agreement", "least", "identical"}};
    Json json = Json::array();
    bool as_expected = true;

    void add(const ResultPair& pair) {
        const PairAgreement found = agreement_of(pair);
        tables.add(pair, found);
        as_expected = as_expected && (found.identical || !must_agree(pair));
        shown.push_back({pair.policy,
                         pair.budget,
                         pair.schedule,
                         three_places(found.jaccard),
                         three_places(found.least),
                         found.identical ? "yes" : "no"});
        json.push_back({{"policy", pair.policy},
                        {"budget", pair.budget},
                        {"schedule", pair.schedule},
                        {"query_source", pair.query_source},
                        {"jaccard", found.jaccard},
                        {"least", found.least},
                        {"identical", found.identical}});
    }

    void write(const fs::path& out) const {
        write_text_file(out / "agreement.csv", tables.agreement().text());
        write_text_file(out / "drift.csv", tables.drift().text());
        write_text_file(out / "parting.csv", tables.parting().text());
    }
};

/// Writes calibration.csv and returns it, or says why there is none and removes an earlier one,
/// which would speak of other results.
std::vector<MetricCalibration> calibrate(const fs::path& a,
                                         const fs::path& b,
                                         const fs::path& out,
                                         const CommonOptions& common) {
    if (fs::exists(a / "recall.csv") && fs::exists(b / "answers.csv")) {
        std::vector<MetricCalibration> rows = calibrate_directories(a, b, common.threads);
        write_text_file(out / "calibration.csv", calibration_csv(rows));
        return rows;
    }
    std::error_code ignored;
    fs::remove(out / "calibration.csv", ignored);
    const bool live_twice = fs::exists(a / "answers.csv") && fs::exists(b / "answers.csv");
    if (!live_twice && !common.quiet)
        std::cerr << "kvtape: verifying: no calibration, which needs recall.csv in " << a.string()
                  << " and answers.csv in " << b.string() << '\n';
    return {};
}

void print_json(const Agreement& agreement, const std::vector<MetricCalibration>& calibration) {
    Json metrics = Json::array();
    for (const MetricCalibration& row : calibration)
        if (row.calibration.spearman)
            metrics.push_back({{"metric", row.metric},
                               {"task", row.task.empty() ? "all" : row.task},
                               {"cells", row.calibration.cells},
                               {"spearman", row.calibration.spearman->value}});
    std::cout << to_text(Json{{"results", agreement.json}, {"calibration", metrics}}) << '\n';
}

void print_text(const Agreement& agreement,
                const std::vector<MetricCalibration>& calibration,
                const fs::path& out) {
    std::cout << text_table(agreement.shown) << '\n';
    if (!calibration.empty())
        std::cout << calibration_text(calibration) << '\n';
    std::cout << "Agreement is the Jaccard index of what both keep, over sequences, layers, KV "
                 "heads and blocks.\nMore in "
              << (out / "agreement.csv").string() << '\n';
}

/// Says which results of the second directory are compared with nothing.
void name_unpaired(const fs::path& a, const fs::path& b) {
    constexpr std::size_t most = 4;
    const std::vector<std::string> names = unpaired_results(a, b);
    if (names.empty())
        return;
    std::string text;
    for (std::size_t i = 0; i < std::min(most, names.size()); ++i)
        text += (i == 0 ? "" : ", ") + names[i];
    std::cerr << "kvtape: verifying: " << names.size() << " results of " << b.string()
              << " have no partner in " << a.string() << " (" << text
              << (names.size() > most ? ", ..." : "")
              << "); partners have the same policy, budget as written, schedule and query source\n";
}

int run(const Invocation& invocation) {
    const fs::path a = invocation.values["a"].as<std::string>();
    const fs::path b = invocation.values["b"].as<std::string>();
    const fs::path out = folder_of_tables(invocation);
    const std::vector<ResultPair> pairs = pair_results(a, b);
    make_folder(out);
    if (!invocation.common.quiet)
        name_unpaired(a, b);
    Agreement agreement;
    for (const ResultPair& pair : pairs)
        agreement.add(pair);
    agreement.write(out);
    const std::vector<MetricCalibration> calibration = calibrate(a, b, out, invocation.common);
    note_command(out, "verify", invocation);
    if (invocation.common.json)
        print_json(agreement, calibration);
    else
        print_text(agreement, calibration, out);
    if (agreement.as_expected)
        return exit_done;
    std::cerr << "kvtape: verifying: policies that decide once over a whole prompt must agree "
                 "exactly, and some do not\n";
    return exit_difference;
}

}  // namespace

Verb verify() {
    return {.name = "verify",
            .synopsis = "verify REPLAY_DIR LIVE_DIR",
            .summary = "says how far replay and the running model agree",
            .examples =
                "  kvtape verify replayed live\n"
                "  kvtape verify live-1-thread live-2-threads --out noise\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
