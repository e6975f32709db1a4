#include "tools/replay_table.hpp"

#include "tests/support/catch.hpp"
#include "tools/table.hpp"

using namespace kvtape;

namespace {

Cell cell(const std::string& policy,
          const std::string& budget,
          double asked,
          double kept,
          double recall) {
    Cell cell{.policy = policy,
              .query_source = policy == "oracle" ? "oracle" : "agnostic",
              .schedule = "prefill",
              .budget = budget,
              .asked_ratio = asked,
              .summary = {}};
    cell.summary.kept_ratio = kept;
    cell.summary.needle_recall_weighted = Interval{recall, recall, recall};
    return cell;
}

}  // namespace

TEST_CASE("columns of a text table line up, accents and all", "[tools][table]") {
    CHECK(text_table({{"name", "a"}, {"\xc3\xa9t\xc3\xa9", "1"}, {"long name", "12.5"}}) ==
          "name          a\n"
          "---------  ----\n"
          "\xc3\xa9t\xc3\xa9           1\n"
          "long name  12.5\n");
}

TEST_CASE("no line of a text table ends in blanks", "[tools][table]") {
    CHECK(text_table({{"a", "bb", "c"}, {"x", "", ""}}) ==
          "a  bb  c\n"
          "-  --  -\n"
          "x\n");
}

TEST_CASE("full and oracle come first, random last, the others by name", "[tools][table]") {
    CHECK(replay_table({cell("h2o", "10%", 0.1, 0.1, 0.2),
                        cell("tova", "10%", 0.1, 0.1, 0.3),
                        cell("full", "10%", 0.1, 1.0, 1.0),
                        cell("random", "10%", 0.1, 0.1, 0.1),
                        cell("knorm", "10%", 0.1, 0.1, 0.25),
                        cell("oracle", "10%", 0.1, 0.1, 0.95)}) ==
          "needle kept   10%\n"
          "-----------  ----\n"
          "full         1.00\n"
          "oracle       0.95\n"
          "h2o          0.20\n"
          "knorm        0.25\n"
          "tova         0.30\n"
          "random       0.10\n");
}

TEST_CASE("cells that keep more than was asked are marked and explained", "[tools][table]") {
    CHECK(replay_table({cell("lagkv", "5%", 0.05, 0.38, 0.5),
                        cell("lagkv", "10%", 0.1, 0.414, 0.6),
                        cell("lagkv", "50%", 0.5, 0.509, 0.7),
                        cell("full", "5%", 0.05, 1.0, 1.0),
                        cell("full", "10%", 0.1, 1.0, 1.0),
                        cell("full", "50%", 0.5, 1.0, 1.0)}) ==
          "needle kept    5%    10%    50%\n"
          "-----------  -----  -----  -----\n"
          "full         1.00   1.00   1.00\n"
          "lagkv        0.50*  0.60*  0.70\n"
          "* keeps more than asked: lagkv 38 % at 5%, 41 % at 10%\n");
}

TEST_CASE("below the table stands what a policy is never shown without", "[tools][table]") {
    CHECK(replay_table({cell("ems", "5%", 0.05, 0.05, 0.5),
                        cell("ems:gamma=0", "5%", 0.05, 0.05, 0.25),
                        cell("snapkv", "5%", 0.05, 0.05, 0.5)}) ==
          "needle kept    5%\n"
          "-----------  ----\n"
          "ems          0.50\n"
          "ems:gamma=0  0.25\n"
          "snapkv       0.50\n"
          "ems: reconstructed from the abstract, the score formula and reviews\n");
}

TEST_CASE("several policies share the footnote, and missing cells stay empty", "[tools][table]") {
    CHECK(replay_table(
              {cell("lagkv:lag=8", "0.1", 0.1, 0.2, 0.5), cell("lagkv", "5%", 0.05, 0.38, 0.5)}) ==
          "needle kept    5%    0.1\n"
          "-----------  -----  -----\n"
          "lagkv        0.50*\n"
          "lagkv:lag=8         0.50*\n"
          "* keeps more than asked: lagkv 38 % at 5%; lagkv:lag=8 20 % at 0.1\n");
}

TEST_CASE("a policy that looks at other queries than by default says so; none is undefined",
          "[tools][table]") {
    Cell question = cell("snapkv", "10%", 0.1, 0.1, 0.5);
    question.query_source = "question";
    question.summary.needle_recall_weighted.reset();
    CHECK(replay_table({question}) ==
          "needle kept        10%\n"
          "-----------------  ---\n"
          "snapkv (question)    -\n");
}

TEST_CASE("many budgets stand below each other, and a long footnote names the ends",
          "[tools][table]") {
    std::vector<Cell> cells;
    std::string expected =
        "needle kept  lagkv   tova\n"
        "-----------  -----  -----\n";
    for (int percent = 10; percent <= 30; ++percent) {
        const std::string budget = std::to_string(percent) + '%';
        cells.push_back(cell("lagkv", budget, percent / 100.0, 0.5, 0.25));
        cells.push_back(cell("tova", budget, percent / 100.0, percent / 100.0, 0.5));
        expected += budget + "          0.25*  0.50\n";
    }
    CHECK(replay_table(cells) ==
          expected + "* keeps more than asked: lagkv 50 % at 10% to 50 % at 30% (21 budgets)\n");
}
