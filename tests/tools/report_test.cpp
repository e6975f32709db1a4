#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/count.hpp"
#include "tests/trace/samples.hpp"
#include "tools/report/data.hpp"
#include "tools/report/page.hpp"
#include "trace/decisions.hpp"

#include <algorithm>
#include <vector>

using namespace kvtape;
using testing::count;
using namespace kvtape::tests;
using Catch::Matchers::Contains;

namespace {

constexpr Position length = 40;

/// A trace of one sequence with `text` behind every token, and the directory of a replay over it
/// that holds the policy `policy` at 25%.
class Results {
  public:
    explicit Results(const std::string& text, const std::string& policy = "snapkv")
        : policy_(policy) {
        std::filesystem::create_directory(folder_ / "out");
        SequenceInfo sequence = sample_sequence(length);
        sequence.text.clear();
        sequence.text_offsets = {0};
        for (Position token = 0; token < length; ++token) {
            sequence.text += text;
            sequence.text_offsets.push_back(std::ssize(sequence.text));
        }
        sequence.answer = sequence.generated_text = text.substr(0, 40);
        TraceWriter writer(folder_ / "t", sample_info());
        writer.begin_sequence(sequence);
        for (std::int32_t layer = 0; layer < 2; ++layer)
            writer.write_layer(layer, sample_layer(sample_info().shape, sequence, layer));
        writer.end_sequence();
        const std::string fingerprint = writer.finish();
        write_result(fingerprint);
        write_bytes(folder_ / "out/recall.csv", recall_csv(policy));
        write_bytes(folder_ / "out/run.json", "{\"command\":\"kvtape replay\",\"trace\":\"../t\"}");
    }

    /// A decision file that belongs to the trace of this fingerprint, and an index that lists it.
    void write_result(const std::string& trace) const {
        write_bytes(path("index.csv"),
                    "file,policy,parameters,budget,schedule,query_source,seed,fingerprint\n"
                    "a.decisions.h5,\"" +
                        policy_ + "\",{},25%,prefill,agnostic,0," +
                        write_decisions("a.decisions.h5", trace) + "\n");
    }

    /// Returns the fingerprint of the file.
    std::string write_decisions(const std::string& name, const std::string& trace) const {
        DecisionWriter writer(path(name),
                              {.producer = "kvtape test",
                               .trace_fingerprint = trace,
                               .policy = "snapkv",
                               .parameters = "{}",
                               .budget = "25%",
                               .schedule = "prefill",
                               .query_source = "agnostic",
                               .loop = "replay",
                               .fingerprint = {}},
                              Existing::replace);
        writer.begin_sequence({.name = "0000",
                               .kept_tokens = 124,
                               .kept_bytes = 31,
                               .full_bytes = 124,
                               .blocks = {{0, length - 8, false}, {length - 8, length, false}}},
                              2,
                              length);
        for (std::int32_t layer = 0; layer < 2; ++layer) {
            LayerFate fate{.evicted_at = std::vector<std::int32_t>(2 * length, -1),
                           .merged_into = {},
                           .scores = {}};
            fate.evicted_at[0] = fate.evicted_at[9] = 0;
            writer.write_layer(layer, fate);
        }
        writer.end_sequence();
        return writer.finish();
    }

    std::filesystem::path path(const std::string& name) const { return folder_ / ("out/" + name); }

    report::Sources sources() const {
        return report::open_sources({.directory = folder_ / "out", .trace = {}, .live = {}});
    }
    std::string page() const {
        report::Sources all = sources();
        return report::make_page(all);
    }

  private:
    static std::string recall_csv(const std::string& policy) {
        std::string csv =
            "policy,parameters,budget,schedule,query_source,sequence,task,layer,kv_head,tokens,"
            "kept,kept_bytes,needle_tokens,needle_kept,needle_recall,needle_recall_weight,"
            "mass_kept,output_error_median,output_error_p95\n";
        for (int head = 0; head < 4; ++head)
            csv += '"' + policy + "\",{},25%,prefill,agnostic,0000,passkey," +
                   std::to_string(head / 2) + ',' + std::to_string(head % 2) +
                   ",32,8,512,4,2,0.5,0.25,0.75,0.125,0.5\n";
        return csv;
    }

    Folder folder_;
    std::string policy_;
};

/// What stands inside the element that holds the data.
std::string data_in(const std::string& page) {
    const std::string open = "<script type=\"application/json\" id=\"data\">";
    const std::size_t begin = page.find(open) + open.size();
    return page.substr(begin, page.find("</script>", begin) - begin);
}

bool has_note(const report::Sources& sources, const std::string& part) {
    return std::any_of(sources.notes.begin(), sources.notes.end(), [&](const std::string& note) {
        return note.find(part) != std::string::npos;
    });
}

}  // namespace

TEST_CASE("hostile text reaches the page as data alone", "[tools][report]") {
    const std::string harmless = Results("it ").page();
    for (const std::string& text : {std::string("</script><script>alert(1)</script>"),
                                    std::string("<img src=x onerror=alert(1)>"),
                                    std::string("\u202e\u0627\u0644\u0639 😀"),
                                    std::string("\0\x1b[31m", 6),
                                    std::string("{{data}}"),
                                    std::string(10'000, 'x')}) {
        const std::string page = Results(text, "<b>{{made}}</b>").page();
        CHECK(count(page, "<script") == count(harmless, "<script"));
        CHECK(count(page, "</script") == count(harmless, "</script"));
        CHECK(count(page, "<img") + count(page, "<b>{{") + count(page, "\u202e") == 0);
        CHECK(count(page, std::string(1, '\0')) + count(page, "\x1b") == 0);
        CHECK(page.size() < 400'000);
        const Json data = Json::parse(data_in(page));
        CHECK(data["series"][0] == "<b>{{made}}</b>");
        CHECK(data["strips"]["sequences"][0]["words"].size() == length);
    }
}

TEST_CASE("a page holds figures, decisions and where they come from", "[tools][report]") {
    const Results results("it ");
    const std::string page = results.page();
    const Json data = Json::parse(data_in(page));
    CHECK(data["cells"][0]["kept"] == 0.25);
    CHECK(data["cells"][0]["all"]["weighted"] == Json::array({0.5, nullptr, nullptr}));
    CHECK(data["cells"][0]["heads"]["error"] == Json::array({0.125, 0.125, 0.125, 0.125}));
    CHECK(data["cells"][0]["bytes"] == Json::array({31, 124}));
    // Tokens 0 and 9 are evicted in the first head: bits 0 of byte 0 and 1 of byte 1, then 3 bytes.
    CHECK(data["strips"]["codes"][0][0][0] == "AQIAAAA=");
    CHECK(data["strips"]["codes"][0][1][0] == "AAAAAAA=");
    CHECK_THAT(page,
               Contains("At <b>25%</b> of the cache <b>snapkv</b> keeps the largest share of the "
                        "needle: <b>0.50</b>. No other policy can be compared with it at this "
                        "budget and schedule."));
    CHECK_THAT(page, Contains("default-src 'none'; script-src 'sha256-"));
    CHECK_THAT(page, Contains("kvtape replay"));
}

TEST_CASE("what is absent or damaged is left out of the page and named", "[tools][report]") {
    const Results results("it ");
    CHECK(has_note(results.sources(), "") == false);

    results.write_result(std::string(32, '0'));
    CHECK(has_note(results.sources(), "they belong to the trace 00000000"));
    CHECK(results.sources().files[0].decisions != nullptr);
    CHECK(results.sources().trace == nullptr);
    write_bytes(results.path("a.decisions.h5"), "damaged");
    CHECK(has_note(results.sources(), "Decisions of snapkv at 25% are left out"));
    std::filesystem::remove(results.path("a.decisions.h5"));
    CHECK(has_note(results.sources(), "a.decisions.h5"));
    CHECK_THAT(results.page(), Contains("What is missing here"));

    write_bytes(results.path("compare.csv"), "policy_a,of\n1,2\n");
    report::Sources with_foreign_table = results.sources();
    CHECK_THAT(report::make_page(with_foreign_table), Contains("compare.csv is left out"));

    write_bytes(results.path("index.csv"),
                "file,policy,budget,schedule,query_source,fingerprint\n"
                "../t,snapkv,25%,prefill,agnostic,00\n");
    CHECK(has_note(results.sources(), "which is not a file name"));
    std::filesystem::remove(results.path("run.json"));
    CHECK(has_note(results.sources(), "run.json names no trace; --trace does"));

    write_bytes(results.path("recall.csv"), "policy,budget\nsnapkv,25%\n");
    CHECK_THROWS_WITH(results.sources(), Contains("it has no column"));
    std::filesystem::remove(results.path("recall.csv"));
    CHECK_THROWS_WITH(results.sources(), Contains("it holds no results (no recall.csv)"));
    CHECK_THROWS_WITH(report::open_sources({.directory = "/absent", .trace = {}, .live = {}}),
                      Contains("there is no such directory"));
}

TEST_CASE("agreement is shown by policy, budget, schedule and queries", "[tools][report]") {
    const Results results("it ");
    write_bytes(results.path("agreement.csv"),
                "policy,budget,schedule,query_source,jaccard\n"
                "snapkv,25%,prefill,agnostic,0.5\nsnapkv,25%,prefill,agnostic,1\n"
                "snapkv,25%,prefill,question,0.25\n");
    report::Sources sources = results.sources();
    const Json rows = report::page_data(sources)["live"]["agreement"]["rows"];
    REQUIRE(rows.size() == 2);
    CHECK(rows[0] == Json::array({"snapkv", "25%", "prefill", "agnostic", 0.75, 0.5}));
    CHECK(rows[1] == Json::array({"snapkv", "25%", "prefill", "question", 0.25, 0.25}));
}

TEST_CASE("results that were analyzed with other queries are named", "[tools][report]") {
    const Results results("it ");
    const std::string head = "policy,budget,schedule,query_source\n";
    write_bytes(results.path("bias.csv"), head + "snapkv,25%,prefill,agnostic\n");
    CHECK_FALSE(has_note(results.sources(), "Not among the analyzed results"));
    write_bytes(results.path("bias.csv"), head + "snapkv,25%,prefill,question\n");
    CHECK(has_note(results.sources(), "Not among the analyzed results: snapkv at 25%"));
}

TEST_CASE("tables of analyze reach the page by layer and head", "[tools][report]") {
    const Results results("it ");
    const std::string names = "policy,parameters,budget,schedule,query_source,layer,kv_head,";
    const std::string name = "snapkv,{},25%,prefill,agnostic,";
    write_bytes(results.path("heads.csv"),
                names +
                    "kept_jaccard,effective_heads_kept,effective_heads_keys,"
                    "effective_heads_values\n" +
                    name + "1,0,0.5,1.5,1.25,2\n" + name + "1,,0.5,1.5,1.25,2\n" + name +
                    ",,0.75,1.5,1.25,2\n" + "other,{},25%,prefill,agnostic,0,0,1,1,1,1\n");
    write_bytes(results.path("damage.csv"),
                names + "probes,output_error_median,leave_one_out_max\n" + name +
                    "1,0,question,0.25,9\n" + name + "1,0,answer,0.75,9\n" + name +
                    "1,1,all,9,0.0012345\n" + name + ",,question,9,9\n" +
                    "other,{},25%,prefill,agnostic,0,0,all,1,1\n");
    write_bytes(results.path("paged.csv"),
                names +
                    "block,kept_ratio,held_ratio,paged_ratio,needle_recall_weighted,"
                    "needle_recall_weighted_low,needle_recall_weighted_high,paged_recall_weighted,"
                    "paged_recall_weighted_low,paged_recall_weighted_high,recall_lost,"
                    "recall_lost_low,recall_lost_high\n" +
                    name + "0,0,16,0.1,0.2,0.1,0.5,,,0.25,,,0.25,,\n" + name +
                    ",,16,0.1,0.2,0.1,0.5,0.4,0.6,0.25,0.2,0.3,0.25,,\n");
    report::Sources sources = results.sources();
    const Json analysis = report::page_data(sources)["analysis"];
    const Json& heads = analysis["heads"][0];
    CHECK(heads["jaccard"] == Json::array({nullptr, nullptr, 0.5, nullptr}));
    CHECK(heads["effective"] == Json::array({nullptr, Json::array({1.5, 1.25, 2.0})}));
    const Json& damage = analysis["damage"][0];
    CHECK(damage["question"] == Json::array({nullptr, nullptr, 0.25, nullptr}));
    CHECK(damage["answer"] == Json::array({nullptr, nullptr, 0.75, nullptr}));
    CHECK(damage["single"] == Json::array({nullptr, nullptr, nullptr, 0.00123}));
    CHECK(analysis["paged"]["rows"].size() == 1);
    CHECK(analysis["paged"]["rows"][0][1] == "25%");
    CHECK(analysis["paged"]["rows"][0][10] == 0.6);
    CHECK(analysis["paged"]["rows"][0][12] == 0.2);
    CHECK(analysis["bias"].is_null());
    CHECK(has_note(sources, "for want of bias.csv, compare.csv, pareto.csv, queries.csv"));
}

TEST_CASE("pairs reach the page by recall first, over all tasks", "[tools][report]") {
    const Results results("it ");
    const std::string pair = "snapkv,agnostic,25%,0.25,tova,agnostic,25%,0.25,prefill,";
    const std::string figures = ",0.5,0.25,0.25,0.125,0.375,1,0,0,";
    write_bytes(results.path("compare.csv"),
                "policy_a,query_source_a,budget_a,kept_ratio_a,policy_b,query_source_b,budget_b,"
                "kept_ratio_b,schedule,metric,mean_a,mean_b,difference,difference_low,"
                "difference_high,wins,ties,losses,task\n" +
                    pair + "mass_kept" + figures + "passkey\n" + pair + "output_error_median" +
                    figures + "passkey\n" + pair + "needle_recall_weighted" + figures +
                    "passkey\n");
    report::Sources sources = results.sources();
    const Json compare = report::page_data(sources)["analysis"]["compare"];
    REQUIRE(compare["rows"].size() == 2);
    CHECK(compare["rows"][0][9] == "needle_recall_weighted");
    CHECK(compare["rows"][1][9] == "mass_kept");
    CHECK(compare["left_out"] == 0);
}

TEST_CASE("decisions that do not fit are left out head by head", "[tools][report]") {
    const Results results("it ");
    report::Sources sources = results.sources();
    const Json data = report::page_data(sources, {.bytes = 25, .text = 96});
    CHECK(data["strips"]["heads"].size() == 2);
    CHECK(has_note(sources, "show the 2 of 4 KV heads"));
}

TEST_CASE("a policy that decides otherwise than its decision files has no steps between them",
          "[tools][report]") {
    const Results results("it ", "random");
    write_bytes(results.path("curve.csv"),
                "policy,parameters,schedule,query_source,task,tokens,kept_ratio,needle_recall,"
                "needle_recall_weighted,mass_kept\n"
                "random,{},prefill,agnostic,passkey,32,1,1,1,1\n");
    report::Sources sources = results.sources();
    const Json strips = report::page_data(sources)["strips"];
    CHECK(strips["steps"].size() > 10);
    CHECK(strips["first"] == Json::array({nullptr}));
    CHECK(strips["codes"][0][0][0] == "AQIAAAA=");
    CHECK(has_note(sources, "left out for random: it decides otherwise than its decision file"));
}
