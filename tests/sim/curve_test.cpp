#include "sim/curve.hpp"

#include "sim/csv.hpp"
#include "sim/tables.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "tests/trace/samples.hpp"

#include <map>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

using Row = std::map<std::string, std::string>;

std::vector<Row> rows_of(const std::string& csv) {
    const auto records = parse_csv(csv, "a table");
    std::vector<Row> rows;
    for (std::size_t i = 1; i < records.size(); ++i)
        for (std::size_t column = 0; column < records[0].size(); ++column) {
            if (column == 0)
                rows.emplace_back();
            rows.back()[records[0][column]] = records[i][column];
        }
    return rows;
}

const auto silent = [](std::int64_t, std::int64_t) {};

/// The summary of every budget, each replayed by itself.
std::vector<Row> brute_force(const Trace& trace,
                             const PolicyRun& policy,
                             const std::string& budgets) {
    const Folder folder;
    ResultDirectory directory(folder / "out", trace);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets(budgets)};
    replay_into(directory, request_for(trace), std::span(&task, 1), "kvtape test", silent);
    return rows_of(make_tables(trace, directory.results(), 1, silent).summary_csv);
}

bool agree(const std::string& a, const std::string& b) {
    if (a.empty() || b.empty())
        return a == b;
    return std::stod(a) == Approx(std::stod(b)).epsilon(1e-9).margin(1e-9);
}

}  // namespace

TEST_CASE("a curve equals what replaying every budget by itself gives", "[sim][curve]") {
    const SyntheticTrace trace({.sequences = 2, .context = 70});
    std::string budgets = "1t";
    for (int tokens = 2; tokens <= 70; tokens += tokens < 40 ? 1 : 3)
        budgets += ',' + std::to_string(tokens) + 't';
    REQUIRE(parse_budgets(budgets).size() >= 50);
    for (const std::string spec : {"random",
                                   "oracle",
                                   "streaming_llm",
                                   "knorm",
                                   "keydiff",
                                   "tova",
                                   "h2o",
                                   "snapkv:window=16",
                                   "lagkv:lag=8,sinks=4",
                                   "lagkv:lag=8,compat=kvpress",
                                   "full"}) {
        const PolicyRun policy = make_policy(spec);
        REQUIRE(has_curve(policy));
        const ReplayTask task{.policy = &policy, .budgets = {}};
        const auto curve = rows_of(curve_table(request_for(trace), std::span(&task, 1), silent));
        std::map<std::pair<std::string, std::string>, Row> points;
        for (const Row& row : curve)
            points[{row.at("task"), row.at("tokens")}] = row;
        for (const Row& expected : brute_force(trace, policy, budgets)) {
            const std::string budget = expected.at("budget");
            const Row& point =
                points.at({expected.at("task"), budget.substr(0, budget.size() - 1)});
            INFO(spec << " at " << budget);
            CHECK(point.at("query_source") == expected.at("query_source"));
            for (const std::string column :
                 {"kept_ratio", "needle_recall", "needle_recall_weighted", "mass_kept"}) {
                INFO(column << ": " << point.at(column) << ", by itself " << expected.at(column));
                CHECK(agree(point.at(column), expected.at(column)));
            }
        }
    }
}

TEST_CASE("a curve does not depend on threads or on the policies beside it", "[sim][curve]") {
    const SyntheticTrace trace({});
    const auto policies = make_policies({"h2o", "snapkv:window=16"});
    const std::vector<ReplayTask> tasks = {{&policies[0], {}}, {&policies[1], {}}};
    ReplayRequest request = request_for(trace);
    const std::string together = curve_table(request, tasks, silent);
    request.threads = 7;
    CHECK(curve_table(request, tasks, silent) == together);
    const std::string alone = curve_table(request, std::span(tasks).first(1), silent);
    CHECK(together.substr(0, alone.size()) == alone);
}

TEST_CASE("policies whose kept sets do not grow have no curve", "[sim][curve]") {
    CHECK_FALSE(has_curve(make_policy("adakv")));
    CHECK(has_curve(make_policy("snapkv")));
}
