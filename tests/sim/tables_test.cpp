#include "sim/tables.hpp"

#include "sim/autopsy.hpp"
#include "sim/csv.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "tests/trace/samples.hpp"
#include "trace/reader.hpp"

#include <cmath>
#include <limits>
#include <map>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

Tables replayed(const Trace& trace,
                const std::vector<std::string>& specs,
                const std::string& budgets) {
    const Folder folder;
    ResultDirectory directory(folder / "out", trace);
    const std::vector<PolicyRun> policies = make_policies(specs);
    std::vector<ReplayTask> tasks;
    for (const PolicyRun& policy : policies)
        tasks.push_back({.policy = &policy, .budgets = parse_budgets(budgets)});
    const auto silent = [](std::int64_t, std::int64_t) {};
    replay_into(directory, request_for(trace), tasks, "kvtape test", silent);
    return make_tables(trace, directory.results(), 1, silent);
}

/// One row of a table by column.
using Row = std::map<std::string, std::string>;

std::vector<Row> rows_of(const std::string& csv) {
    const auto records = parse_csv(csv, "a table");
    std::vector<Row> rows;
    for (std::size_t i = 1; i < records.size(); ++i) {
        rows.emplace_back();
        for (std::size_t column = 0; column < records[0].size(); ++column)
            rows.back()[records[0][column]] = records[i].at(column);
    }
    return rows;
}

const Cell& cell_of(const Tables& tables, const std::string& policy) {
    for (const Cell& cell : tables.cells)
        if (cell.policy == policy)
            return cell;
    throw internal_error("no cell of " + policy);
}

}  // namespace

TEST_CASE("no policy keeps more mass than the oracle at equal counts", "[sim][tables]") {
    // The oracle ranks by the very mean that mass_kept is: over the rows after the context.
    for (const std::string name : {"small-float32", "two-sequences-float32"}) {
        const auto trace = open_trace(golden(name + ".kvtape.h5"));
        const std::vector<Row> rows = rows_of(
            replayed(*trace,
                     {"oracle", "knorm", "random", "snapkv:window=32", "streaming_llm", "tova"},
                     "10%,40%")
                .recall_csv);
        const auto key = [](const Row& row) {
            return row.at("budget") + ' ' + row.at("sequence") + ' ' + row.at("layer") + ' ' +
                   row.at("kv_head") + ' ' + row.at("kept");
        };
        std::map<std::string, double> best;
        for (const Row& row : rows)
            if (row.at("policy") == "oracle")
                best[key(row)] = std::stod(row.at("mass_kept"));
        int compared = 0;
        for (const Row& row : rows)
            if (row.at("policy") != "oracle") {
                INFO(name << ": " << row.at("policy") << " at " << key(row));
                CHECK(std::stod(row.at("mass_kept")) <= best.at(key(row)) + 1e-6);
                ++compared;
            }
        CHECK(compared == 5 * static_cast<int>(best.size()));
    }
}

TEST_CASE("random recalls the share that it keeps", "[sim][tables]") {
    SyntheticSize size;
    size.sequences = 20;
    const SyntheticTrace trace(size);
    const Tables tables = replayed(trace, {"random"}, "30t");
    // 80 heads of 6 needle tokens, each kept with probability 1/3: five standard deviations.
    const double draws = 80.0 * 6.0, deviation = std::sqrt(2.0 / 9.0 / draws);
    const double mean = cell_of(tables, "random").summary.needle_recall.value().mean;
    CHECK(std::abs(mean - 1.0 / 3.0) < 5.0 * deviation);
}

TEST_CASE("a cell says what was asked and what was kept", "[sim][tables]") {
    const SyntheticTrace trace({});
    const Tables tables = replayed(trace, {"full", "knorm", "lagkv:lag=16"}, "9t");
    for (const Cell& cell : tables.cells)
        CHECK(cell.asked_ratio == 0.1);
    CHECK(cell_of(tables, "full").summary.kept_ratio == 1.0);
    CHECK(cell_of(tables, "knorm").summary.kept_ratio == 0.1);
    CHECK(cell_of(tables, "lagkv:lag=16").summary.kept_ratio > 0.2);
}

TEST_CASE("an autopsy names score, rank and cut of every lost needle token", "[sim][autopsy]") {
    const float infinite = std::numeric_limits<float>::infinity();
    const float unscored = std::numeric_limits<float>::quiet_NaN();
    const std::vector<std::int32_t> evicted_at = {-1, 0, -1, -1, 3, 0};
    const std::vector<float> scores = {5.0F, 2.0F, infinite, 1.0F, unscored, 2.0F};
    const std::vector<Position> needle = {1, 3, 4, 5};
    const std::vector<LostToken> lost = autopsy(needle, evicted_at, scores);
    REQUIRE(lost.size() == 3);
    CHECK(lost[0].position == 1);
    CHECK(lost[0].block == 0);
    CHECK(lost[0].score == 2.0);
    CHECK(lost[0].rank == 3);
    CHECK(lost[0].cut_off == 1.0);
    CHECK(lost[1].position == 4);
    CHECK(lost[1].block == 3);
    CHECK_FALSE(lost[1].score.has_value());
    CHECK_FALSE(lost[1].rank.has_value());
    CHECK(lost[1].cut_off == 1.0);
    CHECK(lost[2].position == 5);
    CHECK(lost[2].rank == 4);  // ties go to the lower position
}

TEST_CASE("an autopsy of a needle that is all there is empty, and a cut needs a finite score",
          "[sim][autopsy]") {
    const float infinite = std::numeric_limits<float>::infinity();
    const std::vector<Position> needle = {0, 1};
    CHECK(autopsy(needle, std::vector<std::int32_t>{-1, -1}, std::vector<float>{1, 2}).empty());
    const auto lost =
        autopsy(needle, std::vector<std::int32_t>{-1, 0}, std::vector<float>{infinite, 2});
    REQUIRE(lost.size() == 1);
    CHECK_FALSE(lost[0].cut_off.has_value());
}

TEST_CASE("regret compares the sequences that the oracle and the policy both hold",
          "[sim][tables]") {
    const SyntheticTrace trace({.sequences = 4});  // 0 and 2 are of one task, 1 and 3 of another
    const auto replay_some = [&](const Folder& folder,
                                 const std::string& spec,
                                 const std::vector<std::int32_t>& sequences) {
        ResultDirectory directory(folder / "out", trace);
        ReplayRequest request = request_for(trace);
        request.sequences = sequences;
        const std::vector<PolicyRun> policies = make_policies({spec});
        const ReplayTask task{.policy = &policies[0], .budgets = parse_budgets("0.25")};
        const auto silent = [](std::int64_t, std::int64_t) {};
        replay_into(directory, request, std::span(&task, 1), "kvtape test", silent);
        return make_tables(trace, directory.results(), 1, silent);
    };
    const auto row_of = [](const Tables& tables, const std::string& policy, const char* task) {
        for (const Row& row : rows_of(tables.summary_csv))
            if (row.at("policy") == policy && row.at("task") == task)
                return row;
        throw internal_error("no row of " + policy);
    };
    const auto recall = [&](const std::string& policy, const std::vector<std::int32_t>& sequences) {
        const Folder alone;
        const Tables tables = replay_some(alone, policy, sequences);
        return std::stod(row_of(tables, policy, "even").at("needle_recall_weighted"));
    };
    const Folder folder;
    replay_some(folder, "oracle", {0});
    const Tables tables = replay_some(folder, "knorm", {0, 1, 2, 3});
    const double shared = recall("oracle", {0}) - recall("knorm", {0});
    const double unpaired = recall("oracle", {0}) - recall("knorm", {0, 2});
    REQUIRE(std::abs(shared - unpaired) > 1e-3);
    const Row even = row_of(tables, "knorm", "even");
    CHECK(std::stod(even.at("regret")) == Approx(shared).epsilon(1e-12));
    CHECK(row_of(tables, "knorm", "odd").at("regret").empty());
    CHECK(std::stod(row_of(tables, "oracle", "even").at("regret")) == 0.0);
}

TEST_CASE("what is written as CSV reads back", "[sim][csv]") {
    const std::vector<std::string> record = {"lagkv:lag=64,sinks=4",
                                             "{\"lag\":64}",
                                             "two\nlines",
                                             "\"",
                                             "",
                                             " blanks ",
                                             "W\xc3\xb6rter",
                                             "last"};
    Csv csv("a,b,c,d,e,f,g,h");
    for (int copies = 0; copies < 2; ++copies) {
        for (const std::string& field : record)
            csv.field(std::string_view(field));
        csv.end_row();
    }
    const auto records = parse_csv(csv.text(), "a test");
    REQUIRE(records.size() == 3);
    CHECK(records[0] == std::vector<std::string>{"a", "b", "c", "d", "e", "f", "g", "h"});
    CHECK(records[1] == record);
    CHECK(records[2] == record);
}

TEST_CASE("numbers in CSV read back to the same bits, undefined ones are empty", "[sim][csv]") {
    const std::vector<double> numbers = {0.1, 1.0 / 3.0, 1e-300, -2.5e17, 5e-324};
    Csv csv("a");
    for (const double number : numbers)
        csv.field(number);
    csv.field(std::optional<double>())
        .field(std::uint64_t{18446744073709551615U})
        .field(std::int64_t{-1})
        .end_row();
    const std::vector<std::string> record = parse_csv(csv.text(), "a test").at(1);
    REQUIRE(record.size() == numbers.size() + 3);
    for (std::size_t i = 0; i < numbers.size(); ++i)
        CHECK(std::strtod(record[i].c_str(), nullptr) == numbers[i]);
    CHECK(record[numbers.size()] == "");
    CHECK(record[numbers.size() + 1] == "18446744073709551615");
    CHECK(record[numbers.size() + 2] == "-1");
}

TEST_CASE("a quote that is never closed is refused", "[sim][csv]") {
    CHECK(mentions(refusal(ErrorKind::format, [] { parse_csv("a\n\"b\n", "index.csv"); }),
                   "index.csv"));
}

TEST_CASE("CSV in pieces is CSV in one", "[sim][tables]") {
    const std::string text = "a,\"b,\"\"c\"\"\",\n\"two\nlines\",,\"\"\n\nlast,\"x\"y,z";
    const std::vector<std::vector<std::string>> whole = parse_csv(text, "a test");
    CHECK(whole == std::vector<std::vector<std::string>>{
                       {"a", "b,\"c\"", ""}, {"two\nlines", "", ""}, {""}, {"last", "xy", "z"}});
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        std::vector<std::vector<std::string>> records;
        CsvParser parser("a test",
                         [&](std::vector<std::string>& record) { records.push_back(record); });
        parser.read(std::string_view(text).substr(0, cut));
        parser.read(std::string_view(text).substr(cut));
        parser.finish();
        REQUIRE(records == whole);
    }
}
