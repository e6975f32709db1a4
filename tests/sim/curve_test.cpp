#include "sim/curve.hpp"

#include "core/philox.hpp"
#include "policies/files.hpp"
#include "sim/csv.hpp"
#include "sim/tables.hpp"
#include "tests/sim/cases.hpp"
#include "tests/sim/kept_figures.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "tests/trace/samples.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
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

/// All nested policies in all their variants, with parameters that fit short contexts.
std::vector<std::string> nested_specs() {
    return {"dropkv:window=16",
            "expected_attention:future=20",
            "expected_attention:future=9,covariance=0,vnorm=0,sinks=9",
            "expected_attention:compat=kvpress",
            "finch",
            "full",
            "h2o",
            "h2o:variant=factory,recent=12",
            "h2o:variant=global_oracle",
            "h2o:variant=normalised,grace=9",
            "h2o:variant=value_norm",
            "keydiff",
            "keydiff:compat=kvpress",
            "knorm",
            "knorm:compat=kvpress",
            "lagkv:lag=8,sinks=4",
            "lagkv:lag=8,score=local",
            "lagkv:lag=8,score=l2,skip=1",
            "lagkv:lag=8,compat=kvpress",
            "lagkv:lag=8,compat=kvpress,cross=1",
            "observed_attention",
            "observed_attention:compat=kvpress",
            "oracle",
            "oracle_output",
            "r_kv",
            "random",
            "scores:file=F.h5",
            "scores:file=F.h5,sinks=5,recent=9",
            "snapkv:window=16",
            "snapkv:window=16,pool=max,group=before,votes=sum,reduce=max",
            "snapkv:window=16,reduce=sum",
            "snapkv:window=16,compat=kvpress",
            "streaming_llm",
            "tova",
            "tova:compat=kvpress"};
}

/// Whether the list has the policy or, where `setting` names one, a spec with that setting.
bool is_tested(const std::string& name, const std::pair<std::string, std::string>& setting) {
    for (const std::string& spec : nested_specs()) {
        const Arguments arguments = parse_spec(spec);
        const auto& values = arguments.values;
        if (arguments.name == name &&
            (setting.first.empty() ||
             std::find(values.begin(), values.end(), setting) != values.end()))
            return true;
    }
    return false;
}

/// The values of a parameter that chooses, but for its default.
std::vector<std::string> choices_of(const Parameter& parameter) {
    std::vector<std::string> choices;
    if (parameter.range.find_first_of(" .") != std::string::npos)
        return choices;  // numbers, lists and paths
    std::istringstream list(parameter.range);
    for (std::string choice; std::getline(list, choice, '|');)
        if (choice != parameter.value)
            choices.push_back(choice);
    return choices;
}

/// Scores for every token of any sequence, some of them equal.
class RandomScores final : public Files, public ScoreTable {
  public:
    std::shared_ptr<const ScoreTable> scores(const std::string&) const override {
        return std::make_shared<RandomScores>();
    }
    std::string text(const std::string&) const override { return {}; }
    std::vector<float> layer(std::string_view, std::int32_t layer) const override {
        std::vector<float> scores(2 * 82);
        for (std::size_t i = 0; i < scores.size(); ++i)
            scores[i] =
                static_cast<float>(Philox(9, static_cast<std::uint64_t>(layer)).below(i, 50));
        return scores;
    }
    const std::string& fingerprint() const override { return digits_; }

  private:
    std::string digits_ = std::string(32, 'f');
};

std::vector<std::string> fifty_budgets(Position context) {
    std::vector<std::string> budgets;
    for (Position tokens = 1; tokens <= context; tokens += tokens < 40 ? 1 : 3)
        budgets.push_back(std::to_string(tokens) + 't');
    REQUIRE(budgets.size() >= 50);
    return budgets;
}

std::string joined(const std::vector<std::string>& budgets) {
    std::string text;
    for (const std::string& budget : budgets)
        text += (text.empty() ? "" : ",") + budget;
    return text;
}

/// The summary of every budget, each replayed by itself.
std::vector<Row> summary_of(const Trace& trace,
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

TEST_CASE("a curve equals what is kept when every budget is replayed by itself", "[sim][curve]") {
    const Position context = 70;
    const SyntheticTrace trace({.sequences = 3,
                                .context = context,
                                .window = context,
                                .rope = R"({"layout":"half","inv_freq":[1.0,0.3,0.05,0.002]})"});
    const std::vector<std::string> budgets = fifty_budgets(context);
    const Attention attention(trace);
    const RandomScores files;
    std::vector<PolicyRun> policies;
    for (const std::string& spec : nested_specs())
        policies.push_back(make_policy(spec, policies::all(), &files));
    std::vector<ReplayTask> by_themselves, at_once;
    for (const PolicyRun& policy : policies) {
        by_themselves.push_back({.policy = &policy, .budgets = parse_budgets(joined(budgets))});
        at_once.push_back({.policy = &policy, .budgets = {}});
    }
    const ReplayRequest request = request_for(trace);
    std::map<std::tuple<std::string, std::string, std::string>, Figures> expected;
    replay(request, by_themselves, [&](const Decided& decided) {
        const ReplayTask& task = by_themselves[decided.task];
        const std::string& workload = trace.sequence(decided.sequence).task;
        const std::string budget = task.budgets[decided.budget].text();
        expected[{task.policy->spec, workload, budget.substr(0, budget.size() - 1)}].add(
            attention.figures(decided.sequence, kept_of(request, decided)));
    });
    REQUIRE(expected.size() == policies.size() * 2 * budgets.size());
    std::size_t compared = 0;
    for (const Row& point : rows_of(curve_table(request, at_once, silent))) {
        const auto found =
            expected.find({point.at("policy"), point.at("task"), point.at("tokens")});
        if (found == expected.end())
            continue;
        INFO(point.at("policy") << " at " << point.at("tokens") << " tokens, " << point.at("task"));
        CHECK(std::stod(point.at("kept_ratio")) == Approx(found->second.kept.mean()));
        CHECK(std::stod(point.at("needle_recall")) ==
              Approx(found->second.recall.mean()).margin(1e-9));
        CHECK(std::stod(point.at("needle_recall_weighted")) ==
              Approx(found->second.weighted.mean()).epsilon(1e-5).margin(1e-9));
        CHECK(std::stod(point.at("mass_kept")) == Approx(found->second.mass.mean()).epsilon(1e-5));
        ++compared;
    }
    CHECK(compared == expected.size());
}

TEST_CASE("a curve shows the figures of the summary at each of its budgets", "[sim][curve]") {
    const SyntheticTrace trace({.sequences = 2, .context = 70});
    const std::string budgets = joined(fifty_budgets(70));
    for (const std::string spec : {"snapkv:window=16", "lagkv:lag=8,sinks=4"}) {
        const PolicyRun policy = make_policy(spec);
        const ReplayTask task{.policy = &policy, .budgets = {}};
        std::map<std::pair<std::string, std::string>, Row> points;
        for (const Row& row : rows_of(curve_table(request_for(trace), std::span(&task, 1), silent)))
            points[{row.at("task"), row.at("tokens")}] = row;
        for (const Row& expected : summary_of(trace, policy, budgets)) {
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

TEST_CASE(
    "every variant of every policy with nested kept sets is among those whose curve is tested",
    "[sim][curve]") {
    const RandomScores files;
    for (const PolicyInfo& info : policies::all()) {
        const std::string name(info.name);
        if (!info.nested) {
            CHECK_FALSE(has_curve(make_policy(name)));
            continue;
        }
        INFO(name);
        CHECK(is_tested(name, {}));
        for (const Parameter& parameter : info.parameters())
            for (const std::string& choice : choices_of(parameter)) {
                INFO(parameter.name << '=' << choice);
                // Those that decide more than once have none.
                if (name == "h2o" && (choice == "online" || choice == "step"))
                    CHECK_FALSE(has_curve(make_policy("h2o:variant=" + choice)));
                else if (parameter.name == "use_then_compress")
                    CHECK_FALSE(has_curve(make_policy("lagkv:use_then_compress=0")));
                else
                    CHECK(is_tested(name, {parameter.name, choice}));
            }
    }
    for (const std::string& spec : nested_specs()) {
        INFO(spec);
        CHECK(has_curve(make_policy(spec, policies::all(), &files)));
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
