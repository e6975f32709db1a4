#include "core/budget.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "tools/report/answer.hpp"
#include "tools/report/finding.hpp"

#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::report;
using namespace kvtape::tests;
using Catch::Matchers::Contains;

namespace {

/// Adds a result that keeps `recall[i]` of the needle of sequence i and holds `share` of 1000
/// tokens.
void add(Sources& sources,
         const std::string& policy,
         const std::string& budget,
         double share,
         const std::vector<double>& recall,
         const std::string& schedule = "prefill",
         const std::string& source = "agnostic") {
    Recall& all = sources.recall;
    Cell cell{.policy = policy,
              .parameters = "{}",
              .budget = budget,
              .schedule = schedule,
              .query_source = source,
              .series = all.series.size(),
              .sequences = {},
              .heads = {}};
    all.series.push_back(policy);
    for (std::size_t i = 0; i < recall.size(); ++i)
        cell.sequences.push_back(
            {.sequence = i,
             .tokens = 1000,
             .kept = static_cast<std::int64_t>(share * 1000.0),
             .kept_bytes = 0,
             .figures = {.weighted = recall[i], .recall = {}, .mass = {}, .error = {}}});
    all.cells.push_back(cell);
}

std::vector<double> around(double mean) {
    return {mean - 0.04, mean + 0.04, mean - 0.02, mean + 0.02, mean, mean};
}

std::string name(const Sources& sources, std::size_t cell) {
    return sources.recall.cells[cell].policy + " at " + sources.recall.cells[cell].budget;
}

LiveAnswers answered(const std::string& policy, const std::string& budget, Share share) {
    return {.policy = policy,
            .budget = budget,
            .schedule = "prefill",
            .query_source = "agnostic",
            .all = share,
            .by_task = {}};
}

}  // namespace

TEST_CASE("the answer is at the smallest budget that keeps nine tenths, or in the middle",
          "[tools][report]") {
    Sources sources;
    for (const char* budget : {"50%", "5%", "10%"}) {
        const double share = Budget::parse(budget).ratio()->value();
        add(sources, "snapkv", budget, share, around(0.3 + share));
        add(sources, "tova", budget, share, around(0.2 + share));
    }
    CHECK(name(sources, find_answer(sources.recall)->best) == "snapkv at 10%");
    CHECK_FALSE(find_answer(sources.recall)->is_enough);
    CHECK_FALSE(least_enough(sources.recall));
    add(sources, "lagkv", "50%", 0.5, around(0.93));
    CHECK(name(sources, find_answer(sources.recall)->best) == "lagkv at 50%");
    CHECK(name(sources, *find_answer(sources.recall)->rival) == "snapkv at 50%");
    CHECK_THAT(answer_html(sources), Contains("the least replayed at which a policy keeps nine"));
    add(sources, "h2o", "5%", 0.05, around(0.92));
    CHECK(name(sources, find_answer(sources.recall)->best) == "h2o at 5%");
    CHECK(name(sources, *least_enough(sources.recall)) == "h2o at 5%");
}

TEST_CASE("what keeps all, chance, oracles and results that hold more are no answer",
          "[tools][report]") {
    Sources sources;
    for (const char* policy : {"full", "oracle", "oracle_output", "random", "paged(random:seed=1)"})
        add(sources, policy, "10%", policy == std::string("full") ? 1.0 : 0.1, around(0.95));
    CHECK_FALSE(find_answer(sources.recall));
    CHECK_THAT(answer_html(sources), Contains("No result of a policy can be compared here."));
    add(sources, "lagkv", "10%", 0.3, around(0.95));
    CHECK_FALSE(find_answer(sources.recall));
    CHECK(name(sources, *least_enough(sources.recall)) == "lagkv at 10%");
    add(sources, "paged(snapkv)", "10%", 0.1, around(0.5));
    CHECK(name(sources, find_answer(sources.recall)->best) == "paged(snapkv) at 10%");
    CHECK_FALSE(find_answer(sources.recall)->rival);
    add(sources, "tova", "10%", 0.1, around(0.4), "block:64");
    CHECK_FALSE(find_answer(sources.recall)->rival);
}

TEST_CASE("budgets in tokens are set against what others hold of them", "[tools][report]") {
    Sources sources;
    add(sources, "snapkv", "100t", 0.1, around(0.5));
    add(sources, "tova", "100t", 0.1, around(0.4));
    add(sources, "lagkv", "100t", 0.4, around(0.8));
    CHECK(holds_more(sources.recall, sources.recall.cells[2]));
    CHECK(name(sources, find_answer(sources.recall)->best) == "snapkv at 100t");
    CHECK_THAT(answer_html(sources),
               Contains("At a budget of <b>100t</b>, with 10 % of the tokens held, <b>snapkv</b>"));
    add(sources, "h2o", "20t", 0.02, around(0.1));
    CHECK(budgets_of(sources.recall) == std::vector<std::string>{"20t", "100t"});
}

TEST_CASE("budgets of several units are in the order of what is held", "[tools][report]") {
    Sources sources;
    add(sources, "snapkv", "25%", 0.25, around(0.5));
    add(sources, "snapkv", "16t", 0.06, around(0.2));
    add(sources, "snapkv", "150t", 0.6, around(0.7));
    add(sources, "full", "16t", 1.0, around(0.96));
    add(sources, "full", "1MiB", 1.0, around(0.96));
    CHECK(budgets_of(sources.recall) == std::vector<std::string>{"16t", "25%", "150t", "1MiB"});
    Sources three;
    three.recall = sources.recall;
    three.recall.cells.resize(3);
    CHECK(name(three, find_answer(three.recall)->best) == "snapkv at 25%");
}

TEST_CASE("the answer says plainly that nothing beats chance, or keeps anything",
          "[tools][report]") {
    Sources sources;
    add(sources, "snapkv", "10%", 0.1, around(0.12));
    add(sources, "random", "10%", 0.1, around(0.27));
    CHECK_THAT(answer_html(sources),
               Contains("At <b>10%</b> of the cache no policy is better at keeping the needle than "
                        "random tokens, which keep 0.27") &&
                   Contains("the best, <b>snapkv</b>, keeps <b>0.12</b>") &&
                   !Contains("Random tokens keep") && !Contains("largest share"));
    add(sources, "tova", "10%", 0.1, {0.1, 0.5, 0.2, 0.5, 0.2, 0.2});
    CHECK_THAT(answer_html(sources),
               Contains("no policy is clearly better at keeping the needle than random tokens") &&
                   Contains("the best, <b>tova</b>, keeps <b>0.28</b>") &&
                   Contains("may be chance (2 sequences won, 0 tied, 4 lost)"));
    add(sources, "h2o", "10%", 0.1, around(0.5));
    CHECK_THAT(answer_html(sources),
               Contains("<b>h2o</b> keeps the largest share of the needle: <b>0.50</b>") &&
                   Contains(" Random tokens keep 0.27"));
    Sources nothing;
    add(nothing, "snapkv", "1%", 0.01, {0.0, 0.0, 0.0});
    CHECK_THAT(answer_html(nothing),
               Contains("no policy keeps even a hundredth of the needle: the best, <b>snapkv</b>, "
                        "keeps <b>0.00</b>"));
}

TEST_CASE("the answer agrees with its own figures", "[tools][report]") {
    Sources sources;
    add(sources, "snapkv", "10%", 0.1, {0.5, 0.6});
    add(sources, "tova", "10%", 0.1, {0.4, 0.6});
    CHECK_THAT(answer_html(sources),
               Contains("(1 sequence won, 1 tied, 0 lost)") &&
                   Contains("Best and runner-up were picked after the fact") &&
                   Contains("No policy keeps nine tenths of the needle at any replayed budget."));
    add(sources, "full", "10%", 1.0, {1.0, 1.0});
    CHECK_THAT(
        answer_html(sources),
        Contains("No policy that drops tokens by choice and sees no future keeps nine tenths "
                 "of the needle at any replayed budget (<b>full</b> does)."));
    add(sources, "oracle", "10%", 0.1, {1.0, 1.0});
    CHECK_THAT(answer_html(sources), Contains("(<b>full</b>, <b>oracle</b> do)."));
    // A name may hold a comma.
    add(sources, "tova", "10%", 0.1, {1.0, 1.0}, "prefill", "oracle");
    sources.recall.series.back() = "tova, oracle";
    CHECK_THAT(answer_html(sources),
               Contains("(<b>full</b>, <b>oracle</b>, <b>tova, oracle</b> do)."));
    // What is shown as 0.90 is nine tenths.
    add(sources, "h2o", "20%", 0.2, {0.896, 0.896});
    CHECK(find_answer(sources.recall)->is_enough);
    CHECK_THAT(
        answer_html(sources),
        Contains("keeps nine tenths of the needle, <b>h2o</b> keeps the largest share of the "
                 "needle: <b>0.90</b>. No other policy can be compared with it at this "
                 "budget and schedule.") &&
            !Contains("picked after the fact"));
    CHECK_FALSE(is_nine_tenths(0.894));
}

TEST_CASE("the answer says whether the runner-up is really behind", "[tools][report]") {
    Sources sources;
    add(sources, "snapkv", "10%", 0.1, {0.5, 0.6, 0.7, 0.8, 0.6, 0.5});
    add(sources, "tova", "10%", 0.1, {0.4, 0.5, 0.6, 0.6, 0.5, 0.4});
    const Finding clear = find_answer(sources.recall).value();
    CHECK(clear.difference.wins == 6);
    CHECK(clear.difference.difference.low > 0.0);
    CHECK_THAT(answer_html(sources),
               Contains("the runner-up, <b>tova</b>, keeps <b>0.50</b>") &&
                   Contains("the difference, <b>0.12</b>") &&
                   Contains("holds over sequences (6 sequences won, 0 tied, 0 lost)"));
    add(sources, "h2o", "10%", 0.1, {0.8, 0.3, 0.6, 0.8, 0.5, 0.6});
    CHECK_THAT(answer_html(sources),
               Contains("<b>h2o</b>, keeps") &&
                   Contains("may be chance (3 sequences won, 1 tied, 2 lost)"));
    Sources alike;
    add(alike, "snapkv", "10%", 0.1, {0.5, 0.6});
    add(alike, "adakv(snapkv)", "10%", 0.09, {0.5, 0.6});
    CHECK_THAT(answer_html(alike),
               Contains("<b>adakv(snapkv)</b>, which holds 9.0 %, keeps") &&
                   Contains("they keep just as much in every sequence"));
    add(alike, "tova", "10%", 0.1, {0.7, 0.55});
    CHECK_THAT(answer_html(alike), Contains("is over too few sequences to tell it from chance"));
}

TEST_CASE("the answer says what the running model answered, with an interval where none is right",
          "[tools][report]") {
    Sources sources;
    add(sources, "snapkv", "10%", 0.1, around(0.6));
    add(sources, "tova", "10%", 0.1, around(0.5));
    CHECK_THAT(answer_html(sources), !Contains("answers"));
    sources.answers = {answered("tova", "10%", {.right = 0, .judged = 12}),
                       answered("snapkv", "5%", {.right = 1, .judged = 12}),
                       answered("snapkv", "10%", {.right = 12, .judged = 12})};
    const std::string html = answer_html(sources);
    CHECK_THAT(html,
               Contains("the model answers <b>12 of 12</b> <span class=bounds>[0.76, 1.00]") &&
                   Contains("<b>0 of 12</b> <span class=bounds>[0.00, 0.24]"));
    CHECK_THAT(html, !Contains("with the whole cache"));
    // The whole cache is the same at every budget.
    for (const char* budget : {"10%", "100%"}) {
        Sources with_full;
        with_full.recall = sources.recall;
        with_full.answers = sources.answers;
        with_full.answers.push_back(answered("full", budget, {.right = 11, .judged = 12}));
        CHECK_THAT(answer_html(with_full),
                   Contains("<b>11 of 12</b> <span class=bounds>[0.65, 0.99]</span> with the whole "
                            "cache"));
    }
}

TEST_CASE("answers under other queries are not those of a result", "[tools][report]") {
    Sources sources;
    add(sources, "snapkv", "10%", 0.1, around(0.6), "prefill", "question");
    sources.answers = {answered("snapkv", "10%", {.right = 12, .judged = 12}),
                       answered("full", "10%", {.right = 11, .judged = 12})};
    CHECK_THAT(answer_html(sources), !Contains("of 12"));
    LiveAnswers asked = answered("snapkv", "10%", {.right = 3, .judged = 12});
    asked.query_source = "question";
    sources.answers.push_back(asked);
    CHECK_THAT(answer_html(sources),
               Contains("<b>3 of 12</b>") && !Contains("<b>12 of 12</b>") &&
                   Contains("<b>11 of 12</b>") && Contains("with the whole cache"));
}

TEST_CASE("answers are read by policy and budget, and those that nothing judges left out",
          "[tools][report]") {
    const Folder folder;
    const std::string head = "policy,budget,schedule,sequence,task,correct\n";
    write_bytes(folder / "answers.csv",
                head +
                    "snapkv,5%,prefill,0,passkey,0\nsnapkv,5%,prefill,1,where,1\n"
                    "full,5%,prefill,0,passkey,-1\nsnapkv,5%,prefill,2,where,1\n"
                    "full,5%,prefill,1,where,\n");
    const std::string index = "policy,budget,schedule,query_source\n";
    write_bytes(folder / "index.csv",
                index + "full,5%,prefill,agnostic\nsnapkv,5%,prefill,question\n");
    const std::vector<LiveAnswers> answers = read_answers(folder / "");
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].query_source == "question");
    CHECK(answers[0].all.right == 2);
    CHECK(answers[0].all.judged == 3);
    CHECK(answers[0].by_task.at("passkey").interval().mean == 0.0);
    CHECK(answers[0].by_task.at("passkey").interval().high == Approx(0.7935).margin(1e-4));
    CHECK(answers[0].by_task.at("where").interval().low == Approx(0.3424).margin(1e-4));
    write_bytes(folder / "answers.csv", head + "snapkv,5%,prefill,0,passkey,0.5\n");
    CHECK_THROWS_WITH(read_answers(folder / ""),
                      Contains("correct of record 1 is '0.5', expected 1, 0 or -1"));
    write_bytes(folder / "answers.csv", head + "snapkv,5%,prefill,0,passkey,1\n");
    write_bytes(folder / "index.csv", index + "full,5%,prefill,agnostic\n");
    CHECK_THROWS_WITH(read_answers(folder / ""),
                      Contains("does not know snapkv at 5%, prefill; run kvtape live again"));
    write_bytes(folder / "index.csv",
                index + "snapkv,5%,prefill,agnostic\nsnapkv,5%,prefill,question\n");
    CHECK_THROWS_WITH(read_answers(folder / ""),
                      Contains("snapkv at 5%, prefill with the queries agnostic and question"));
    std::filesystem::remove(folder / "index.csv");
    CHECK_THROWS_WITH(read_answers(folder / ""), Contains("index.csv"));
}
