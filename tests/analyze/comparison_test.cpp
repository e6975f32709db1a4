#include "analyze/comparison.hpp"

#include "analyze/pareto.hpp"
#include "analyze/query_sources.hpp"
#include "analyze/sweep.hpp"
#include "core/error.hpp"
#include "core/json.hpp"
#include "core/philox.hpp"
#include "core/reduce.hpp"
#include "tests/analyze/vectors.hpp"
#include "tests/support/catch.hpp"

using namespace kvtape;

namespace {

/// A result over sequences of one head each, of the tasks `even` and `odd` in turn.
MeasuredResult result(const std::string& policy,
                      const std::string& parameters,
                      const std::string& budget,
                      std::int64_t kept,
                      const std::vector<double>& recalls,
                      const std::string& source = "agnostic") {
    MeasuredResult made{.policy = policy,
                        .parameters = parameters,
                        .budget = Budget::parse(budget),
                        .schedule = "prefill",
                        .query_source = source,
                        .sequences = {}};
    for (std::size_t i = 0; i < recalls.size(); ++i) {
        MeasuredSequence sequence{.summary = {}, .heads = 1};
        sequence.summary.task = i % 2 == 0 ? "even" : "odd";
        sequence.summary.tokens = 1000;
        sequence.summary.kept = kept;
        sequence.summary.kept_bytes = kept * 8;
        sequence.summary.full_bytes = 8000;
        sequence.summary.needle_recall_weighted = recalls[i];
        made.sequences.emplace("000" + std::to_string(i), sequence);
    }
    return made;
}

/// Records of a table without its head.
std::vector<std::vector<std::string>> rows_of(const std::string& table) {
    auto rows = parse_csv(table, "a table");
    for (const std::vector<std::string>& row : rows)
        REQUIRE(row.size() == rows.front().size());
    rows.erase(rows.begin());
    return rows;
}

}  // namespace

TEST_CASE("paired intervals agree with scipy's percentile bootstrap", "[analyze][compare]") {
    for (const Json& known : scipy_vectors("paired")) {
        const auto a = known["a"].get<std::vector<double>>();
        const auto b = known["b"].get<std::vector<double>>();
        const PairedDifference found = paired_difference(a, b, true, Bootstrap());
        const double low = known["low"].get<double>(), high = known["high"].get<double>();
        CHECK(found.difference.mean == Approx(known["difference"].get<double>()).margin(1e-12));
        // Both ends are estimates from random resamples.
        CHECK(found.difference.low == Approx(low).margin(0.03 * (high - low)));
        CHECK(found.difference.high == Approx(high).margin(0.03 * (high - low)));
    }
}

TEST_CASE("the bootstrap of many rows gives the bits of its definition", "[analyze][compare]") {
    const Bootstrap bootstrap;
    for (const std::uint32_t count : {4u, 5u, 24u}) {
        std::vector<double> values;
        const Philox random(3, count);
        for (std::uint32_t i = 0; i < count; ++i)
            values.push_back(random.uniform(i));
        std::vector<double> means;
        const Philox draws(bootstrap_seed);
        for (std::uint32_t resample = 0; resample < 10'000; ++resample) {
            double sum = 0.0;
            for (std::uint32_t i = 0; i < count; ++i)
                sum += values[draws.below(std::uint64_t{resample} * count + i, count)];
            means.push_back(sum / count);
        }
        const Interval found = bootstrap.mean(values);
        CHECK(found.low == quantile(means, 0.025));
        CHECK(found.high == quantile(means, 0.975));
    }
    const std::vector<double> ones(7, 1.0);
    CHECK(bootstrap.mean(ones).low == 1.0);
    CHECK(bootstrap.mean(ones).high == 1.0);
}

TEST_CASE("wins, ties and losses count sequences, the smaller error winning",
          "[analyze][compare]") {
    const std::vector<double> a = {0.5, 0.5, 0.2, 0.9}, b = {0.4, 0.5 + 1e-12, 0.3, 0.1};
    const PairedDifference recall = paired_difference(a, b, true, Bootstrap());
    CHECK(recall.wins == 2);
    CHECK(recall.ties == 1);
    CHECK(recall.losses == 1);
    const PairedDifference error = paired_difference(a, b, false, Bootstrap());
    CHECK(error.wins == 1);
    CHECK(error.losses == 2);
    CHECK(error.difference.mean == recall.difference.mean);
}

TEST_CASE("budgets are equal within two percent or a token per head", "[analyze][compare]") {
    const auto kept = [](std::int64_t tokens) { return KeptTotals{.heads = 2, .kept = tokens}; };
    CHECK(equal_budgets(kept(20), kept(22)));
    CHECK_FALSE(equal_budgets(kept(20), kept(23)));
    CHECK(equal_budgets(kept(1000), kept(1020)));
    CHECK_FALSE(equal_budgets(kept(1000), kept(1021)));
}

TEST_CASE("policies are compared with the budget of the other that kept as much",
          "[analyze][compare]") {
    const std::vector<MeasuredResult> results = {
        result("a", "{}", "10%", 100, {0.5, 0.5, 0.5, 0.5}),
        result("a", "{}", "25%", 250, {0.6, 0.6, 0.6, 0.6}),
        result("b", "{}", "5%", 251, {0.1, 0.2, 0.3, 0.4}),
        result("b", "{}", "25%", 400, {0.9, 0.9, 0.9, 0.9})};
    const auto rows = rows_of(comparison_table(results, Bootstrap(), 2));
    REQUIRE(rows.size() == 3);  // all, even, odd; at 10 % b has nothing equal
    CHECK(rows[0][2] == "25%");
    CHECK(rows[0][6] == "5%");
    CHECK(rows[0][9] == "all");
    CHECK(std::stod(rows[0][16]) == Approx(0.35));
    CHECK(rows[0][19] == "4");
    CHECK(rows[1][9] == "even");
    CHECK(std::stod(rows[1][16]) == Approx(0.4));
    CHECK(rows[1][17].empty());  // two sequences give no interval
    CHECK(comparison_table(results, Bootstrap(), 1) == comparison_table(results, Bootstrap(), 2));
}

TEST_CASE("the front holds what nothing beats in both, and equals beat nobody",
          "[analyze][pareto]") {
    const std::vector<CostAndGain> points = {
        {0.1, 0.5}, {0.2, 0.5}, {0.2, 0.8}, {0.3, 0.7}, {0.2, 0.8}, {0.3, 0.9}};
    const auto found = dominators(points);
    CHECK_FALSE(found[0]);
    CHECK(found[1] == 2);
    CHECK_FALSE(found[2]);
    CHECK(found[3] == 5);
    CHECK_FALSE(found[4]);
    CHECK_FALSE(found[5]);
}

TEST_CASE("who has seen the answer is not on the front and beats nobody", "[analyze][pareto]") {
    const std::vector<MeasuredResult> results = {
        result("a", "{}", "10%", 100, {0.5, 0.5}),
        result("oracle", "{}", "10%", 100, {1.0, 1.0}, "oracle")};
    const auto rows = rows_of(pareto_table(results, Bootstrap()));
    REQUIRE(rows.size() == 6);
    CHECK(rows[0][12] == "1");
    CHECK(rows[1][12].empty());
    CHECK(rows[1][13].empty());
}

TEST_CASE("who beats a result is named with its queries, where the same spec comes with several",
          "[analyze][pareto]") {
    const std::vector<MeasuredResult> results = {
        result("h2o", "{}", "10%", 100, {0.2, 0.2}),
        result("snapkv", "{}", "10%", 100, {0.5, 0.5}),
        result("snapkv", "{}", "10%", 100, {0.8, 0.8}, "question")};
    const auto rows = rows_of(pareto_table(results, Bootstrap()));
    CHECK(rows[0][13] == "snapkv@10%.prefill.question");
    CHECK(rows[1][13] == "snapkv@10%.prefill.question");
    CHECK(rows[2][12] == "1");
}

TEST_CASE("the share of success from seeing the question is its gain over its figure",
          "[analyze][queries]") {
    const std::vector<MeasuredResult> results = {
        result("snapkv", "{}", "10%", 100, {0.2, 0.3, 0.4, 0.5}),
        result("snapkv", "{}", "10%", 100, {0.6, 0.7, 0.8, 0.9}, "question"),
        result("h2o", "{}", "10%", 100, {0.2, 0.3, 0.4, 0.5})};
    const auto rows = rows_of(query_source_table(results, Bootstrap()));
    REQUIRE(rows.size() == 3);
    CHECK(rows[0][0] == "snapkv");
    CHECK(std::stod(rows[0][7]) == Approx(0.35));
    CHECK(std::stod(rows[0][10]) == Approx(0.75));
    CHECK(rows[0][13].empty());
    CHECK(std::stod(rows[0][16]) == Approx(0.4));
    CHECK(std::stod(rows[0][17]) == Approx(0.4));
    CHECK(std::stod(rows[0][22]) == Approx(0.4 / 0.75));
}

TEST_CASE("a sweep groups by all other parameters and orders values as numbers",
          "[analyze][sweep]") {
    const std::vector<MeasuredResult> results = {
        result("lagkv:lag=128", R"({"lag":128,"sinks":4})", "10%", 100, {0.6, 0.6}),
        result("lagkv:lag=16", R"({"lag":16,"sinks":4})", "10%", 100, {0.4, 0.5}),
        result("lagkv:lag=16,sinks=0", R"({"lag":16,"sinks":0})", "10%", 100, {0.1, 0.1}),
        result("knorm", "{}", "10%", 100, {0.3, 0.3})};
    const auto rows = rows_of(sweep_table(results, "lag", Bootstrap()));
    REQUIRE(rows.size() == 9);
    CHECK(rows[0][0] == "lagkv");
    CHECK(rows[0][1] == "16");
    CHECK(rows[1][1] == "128");
    CHECK(rows[0][2] == R"({"sinks":4})");
    CHECK(std::stod(rows[1][21]) == Approx(0.15));
    CHECK(rows[6][2] == R"({"sinks":0})");
    CHECK_THROWS_WITH(sweep_table(results, "lagg", Bootstrap()),
                      Catch::Contains("no policy of the directory has that parameter") &&
                          Catch::Contains("lag, sinks"));
}

TEST_CASE("a sweep finds parameters of what a wrapper wraps", "[analyze][sweep]") {
    const auto wrapped = [](int window, double recall) {
        const std::string spec = "snapkv:window=" + std::to_string(window);
        const Json snapkv = {{"kernel", 5}, {"window", window}};
        const Json paged = {{"base", spec}, {"base_parameters", snapkv}};
        const Json adakv = {
            {"alpha", 0.5}, {"base", "paged(" + spec + ")"}, {"base_parameters", paged}};
        return result(
            "adakv(paged(" + spec + ")):alpha=0.5", to_text(adakv), "10%", 100, {recall, recall});
    };
    const std::vector<MeasuredResult> results = {
        wrapped(16, 0.6),
        wrapped(8, 0.4),
        result("snapkv:window=8", R"({"kernel":5,"window":8})", "10%", 100, {0.3, 0.3})};
    const auto rows = rows_of(sweep_table(results, "window", Bootstrap()));
    REQUIRE(rows.size() == 9);
    CHECK(rows[0][0] == "adakv(paged(snapkv))");
    CHECK(rows[0][1] == "8");
    CHECK(rows[1][1] == "16");
    const Json others = parse_json(rows[0][2], "others");
    CHECK(others.at("base") == "paged(snapkv)");
    CHECK(others.at("base_parameters").at("base") == "snapkv");
    CHECK(others.at("base_parameters").at("base_parameters") == Json{{"kernel", 5}});
    CHECK(std::stod(rows[1][21]) == Approx(0.2));
    CHECK(rows[6][0] == "snapkv");
    CHECK_THROWS_WITH(sweep_table(results, "windows", Bootstrap()),
                      Catch::Contains("there are alpha, base, kernel, window"));
}

TEST_CASE("of equal names, a sweep takes the parameter of the wrapper", "[analyze][sweep]") {
    const std::string base = R"(,"base":"paged:block=64","base_parameters":{"block":64}})";
    const std::vector<MeasuredResult> results = {
        result("paged(paged:block=64)", R"({"block":16)" + base, "10%", 100, {0.1, 0.1}),
        result("paged(paged:block=64):block=8", R"({"block":8)" + base, "10%", 100, {0.2, 0.2})};
    const auto rows = rows_of(sweep_table(results, "block", Bootstrap()));
    REQUIRE(rows.size() == 6);
    CHECK(rows[0][1] == "8");
    CHECK(rows[1][1] == "16");
}

TEST_CASE("a sweep by base compares what a wrapper wraps", "[analyze][sweep]") {
    const auto wrapped = [](const std::string& base, const std::string& of_base, double recall) {
        return result("adakv(" + base + ")",
                      R"({"alpha":0.2,"base":")" + base + R"(","base_parameters":)" + of_base + "}",
                      "10%",
                      100,
                      {recall, recall});
    };
    const std::vector<MeasuredResult> results = {wrapped("snapkv", R"({"window":8})", 0.6),
                                                 wrapped("knorm", "{}", 0.4)};
    const auto rows = rows_of(sweep_table(results, "base", Bootstrap()));
    REQUIRE(rows.size() == 6);
    CHECK(rows[0][0] == "adakv");
    CHECK(rows[0][1] == "knorm");
    CHECK(rows[1][1] == "snapkv");
    CHECK(rows[1][2] == R"({"alpha":0.2})");
    CHECK(std::stod(rows[1][21]) == Approx(0.2));
}
