#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "tools/report/gaps.hpp"

#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::report;
using namespace kvtape::tests;
using Catch::Matchers::Contains;

namespace {

/// Adds a result over two sequences of four heads that keeps `kept` tokens of each head.
void add(Sources& sources,
         const std::string& policy,
         const std::string& budget,
         std::int64_t kept,
         const std::string& source = "agnostic") {
    Recall& recall = sources.recall;
    const std::string series = policy + ", " + source;
    if (recall.series.empty() || recall.series.back() != series)
        recall.series.push_back(series);
    Cell cell{.policy = policy,
              .parameters = "{}",
              .budget = budget,
              .schedule = "prefill",
              .query_source = source,
              .series = recall.series.size() - 1,
              .sequences = {},
              .heads = {}};
    for (std::size_t sequence = 0; sequence < 2; ++sequence)
        cell.sequences.push_back(
            {.sequence = sequence,
             .tokens = 4000,
             .kept = 4 * kept,
             .kept_bytes = 0,
             .figures = {.weighted = 0.5, .recall = {}, .mass = 0.5, .error = {}},
             .heads = 4});
    recall.cells.push_back(cell);
}

/// snapkv under two kinds of queries and h2o at two budgets, and lagkv, which holds what none does.
Sources results(const Folder& folder) {
    Sources sources;
    sources.directory = folder.path();
    sources.recall.tasks = {"passkey"};
    sources.recall.sequences = {"0000", "0001"};
    sources.recall.task_of = {0, 0};
    for (const char* source : {"agnostic", "question"}) {
        add(sources, "snapkv", "10%", 100, source);
        add(sources, "snapkv", "25%", 250, source);
    }
    add(sources, "h2o", "100t", 101);
    add(sources, "h2o", "250t", 253);
    add(sources, "lagkv", "10%", 400);
    return sources;
}

using Lines = std::vector<std::string>;

const std::string names = "policy,budget,schedule,query_source,task\n";

std::string named(const Cell& cell) {
    return cell.policy + ',' + cell.budget + ',' + cell.schedule + ',' + cell.query_source;
}

/// So many lines of every result.
Lines lines_of_results(const Sources& sources, int each) {
    Lines lines;
    for (const Cell& cell : sources.recall.cells)
        lines.insert(lines.end(), static_cast<std::size_t>(each), named(cell) + ",passkey\n");
    return lines;
}

/// The notes on the table `name` of these lines, where it and bias.csv were read.
std::vector<std::string> notes_on(const Folder& folder,
                                  const std::string& name,
                                  const std::string& head,
                                  const Lines& lines) {
    Sources sources = results(folder);
    std::string text = head;
    for (const std::string& line : lines)
        text += line;
    write_bytes(folder / (name + ".csv"), text);
    note_gaps(sources, {{"bias", 1}, {name, 1}});
    return sources.notes;
}

/// A note for a table that ends early, wherever it ends, and none for the whole one.
void expect_noticed(const Folder& folder,
                    const std::string& name,
                    const std::string& head,
                    Lines lines) {
    CHECK(notes_on(folder, name, head, lines).empty());
    while (!lines.empty()) {
        lines.pop_back();
        INFO(name << " of " << lines.size() << " rows");
        const std::vector<std::string> notes = notes_on(folder, name, head, lines);
        REQUIRE(notes.size() == 1);
        CHECK_THAT(notes[0],
                   Contains(name + ".csv lacks rows, which kvtape analyze adds, of ") &&
                       Contains(" of 7 analyzed results: "));
    }
}

}  // namespace

TEST_CASE("a table of analyze that ends early is noticed wherever it ends", "[tools][report]") {
    const Folder folder;
    const Sources sources = results(folder);
    std::string bias = names;
    for (const std::string& line : lines_of_results(sources, 3))
        bias += line;
    write_bytes(folder / "bias.csv", bias);
    for (const char* name : {"heads", "damage", "paged"})
        expect_noticed(folder, name, names, lines_of_results(sources, 3));
    expect_noticed(folder, "pareto", names, lines_of_results(sources, 1));
    expect_noticed(folder,
                   "queries",
                   "policy,budget,schedule,task\n",
                   {"snapkv,10%,prefill,passkey\n", "snapkv,25%,prefill,passkey\n"});
    const std::string snapkv = "snapkv,question,prefill,passkey\n",
                      h2o = "h2o,agnostic,prefill,passkey\n";
    expect_noticed(folder,
                   "compare",
                   "policy_a,budget_a,query_source_a,policy_b,query_source_b,schedule,task\n",
                   {"snapkv,10%,agnostic," + snapkv,
                    "snapkv,10%,agnostic," + h2o,
                    "snapkv,25%,agnostic," + snapkv,
                    "snapkv,25%,agnostic," + h2o,
                    "snapkv,10%,question," + h2o,
                    "snapkv,25%,question," + h2o});
}

TEST_CASE("results that lack rows of a table are named, but for those that nobody analyzed",
          "[tools][report]") {
    const Folder folder;
    const Sources sources = results(folder);
    Lines lines = lines_of_results(sources, 1);
    std::string bias = names;
    for (const std::string& line : lines)
        bias += line;
    write_bytes(folder / "bias.csv", bias);
    lines.erase(lines.begin() + 3, lines.begin() + 5);
    CHECK(notes_on(folder, "heads", names, lines) ==
          std::vector<std::string>{
              "heads.csv lacks rows, which kvtape analyze adds, of 2 of 7 analyzed results: "
              "snapkv, question at 25%; h2o, agnostic at 100t"});
    bias = names;
    for (const std::string& line : lines)
        bias += line;
    write_bytes(folder / "bias.csv", bias);
    CHECK(notes_on(folder, "heads", names, lines).empty());
    // Without needles there is no front, without probes no damage.
    Sources bare = results(folder);
    for (Cell& cell : bare.recall.cells)
        for (SequenceFigures& one : cell.sequences)
            one.figures = {};
    for (const char* name : {"pareto", "damage", "queries"})
        write_bytes(folder / (std::string(name) + ".csv"), names);
    note_gaps(bare, {{"bias", 1}, {"pareto", 1}, {"damage", 1}, {"queries", 1}});
    CHECK(bare.notes.empty());
    CHECK(listed(Lines(10, "a"), 12, "results") ==
          "10 of 12 results: a; a; a; a; a; a; a; a; and 2 further");
}
