#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/count.hpp"
#include "tests/trace/samples.hpp"
#include "tools/diff_page.hpp"
#include "tools/diff_page_style.hpp"
#include "tools/diff_tables.hpp"
#include "tools/text_file.hpp"
#include "tools/visible_text.hpp"

#include <algorithm>

using namespace kvtape;
using testing::count;
using namespace kvtape::tests;
using Catch::Matchers::Contains;

namespace {

/// A trace of one sequence with `text` behind every token, and two files that part over it.
class Comparison {
  public:
    explicit Comparison(const std::string& text, Position length = 40) {
        SequenceInfo sequence = sample_sequence(length);
        sequence.text.clear();
        sequence.text_offsets = {0};
        for (Position token = 0; token < length; ++token) {
            sequence.text += text;
            sequence.text_offsets.push_back(std::ssize(sequence.text));
        }
        TraceWriter writer(folder_ / "t", sample_info());
        writer.begin_sequence(sequence);
        for (std::int32_t layer = 0; layer < 2; ++layer)
            writer.write_layer(layer, sample_layer(sample_info().shape, sequence, layer));
        writer.end_sequence();
        const std::string fingerprint = writer.finish();
        trace_ = open_trace(folder_ / "t");
        a_ = written("a", fingerprint, length, 2, text);
        b_ = written("b", fingerprint, length, 5, text);
        request_ = {.a = a_.get(), .b = b_.get(), .trace = trace_.get(), .sequences = {}};
        diff_ = compare_decisions(request_);
    }
    DiffSubject subject() const {
        return {.request = request_, .diff = diff_, .name_a = "a", .name_b = "b"};
    }

  private:
    std::unique_ptr<const DecisionFile> written(const std::string& name,
                                                const std::string& fingerprint,
                                                Position length,
                                                Position every,
                                                const std::string& policy) {
        DecisionWriter writer(folder_ / name,
                              {.producer = "kvtape test",
                               .trace_fingerprint = fingerprint,
                               .policy = policy,
                               .parameters = "{}",
                               .budget = "25%",
                               .schedule = "prefill",
                               .query_source = "agnostic",
                               .loop = "replay",
                               .fingerprint = {}});
        writer.begin_sequence(
            {.name = "0000", .blocks = {{0, length - 8, false}, {length - 8, length, false}}},
            2,
            length);
        for (std::int32_t layer = 0; layer < 2; ++layer) {
            const auto count = static_cast<std::size_t>(2 * length);
            LayerFate fate{.evicted_at = std::vector<std::int32_t>(count, -1),
                           .merged_into = std::vector<std::int32_t>(count, -1),
                           .scores = {}};
            for (std::size_t i = 0; i < count; ++i)
                if (static_cast<Position>(i) % length % every == 0 &&
                    static_cast<Position>(i) % length < length - 8)
                    fate.evicted_at[i] = 0;
            writer.write_layer(layer, fate);
        }
        writer.end_sequence();
        writer.finish();
        return open_decisions(folder_ / name);
    }

    Folder folder_;
    std::unique_ptr<const Trace> trace_;
    std::unique_ptr<const DecisionFile> a_, b_;
    DiffRequest request_;
    DecisionDiff diff_;
};

}  // namespace

TEST_CASE("unseen and malformed characters become visible", "[tools][text]") {
    CHECK(visible_text("a\tb\n\x1b[31m\x7f") == "a\u2409b\u240a\u241b[31m\u2421");
    CHECK(visible_text(std::string_view("\0", 1)) == "\u2400");
    CHECK(visible_text("ä–😀") == "ä–😀");
    CHECK(visible_text("x\u202ey\u200b\u0085") == "x[U+202E]y[U+200B][U+0085]");
    CHECK(visible_text("\xff\xc3") == "\ufffd\ufffd");
    CHECK(visible_text("\xed\xa0\x80") == "\ufffd\ufffd\ufffd");  // a surrogate
    CHECK(visible_text("\xc0\xaf") == "\ufffd\ufffd");            // an overlong slash
    CHECK(visible_text("\xf4\x90\x80\x80") == "\ufffd\ufffd\ufffd\ufffd");
    CHECK(html_escaped("<b a=\"'\">&") == "&lt;b a=&quot;&#39;&quot;&gt;&amp;");
}

TEST_CASE("ranges are written with both ends", "[tools][diff]") {
    CHECK(text_of({{0, 4}, {10, 11}}) == "0-3,10");
    CHECK(text_of(std::vector<TokenRange>{}).empty());
}

TEST_CASE("text and table end in the total", "[tools][diff]") {
    const Comparison comparison("it ");
    const std::string text = diff_text(comparison.subject());
    const double jaccard = comparison.subject().diff.jaccard;
    CHECK_THAT(text, Catch::Matchers::EndsWith(" identical no\n"));
    CHECK_THAT(text, Contains("\njaccard 0."));
    CHECK(Json::parse(to_text(diff_json(comparison.subject())))["jaccard"] == jaccard);
    CHECK(count(diff_csv(comparison.subject()), "\n") == 1 + 4);
    CHECK_THAT(text, Contains("Needle tokens that A keeps"));
}

TEST_CASE("every output says what a policy is never shown without", "[tools][diff]") {
    const std::string caveat =
        "ems: reconstructed from the abstract, the score formula and reviews";
    const Comparison ems("ems"), other("snapkv");
    CHECK(count(diff_text(ems.subject()), caveat + '\n') == 1);
    CHECK(count(diff_page(ems.subject()), caveat) == 2);
    CHECK(Json::parse(to_text(diff_json(ems.subject())))["b"]["caveat"] == caveat);
    CHECK(count(diff_text(other.subject()) + diff_page(other.subject()), "reconstructed") == 0);
    CHECK(Json::parse(to_text(diff_json(other.subject())))["b"]["caveat"] == "");
}

TEST_CASE("hostile text stays text on the page", "[tools][diff]") {
    const Comparison comparison("</div><script>x</script>\x1b\"'");
    const std::string page = diff_page(comparison.subject());
    CHECK(count(page, "<script") == 0);
    CHECK(count(page, "\x1b") == 0);
    CHECK(count(page, "&lt;script&gt;") > 10);
    CHECK_THAT(
        page,
        Contains("default-src 'none'; style-src '" + std::string(diff_page_style_hash) + "'"));
    CHECK(count(page, "<div") == count(page, "</div>"));
    CHECK(count(page, "<section") == 4);
    CHECK(count(page, "class=n>") > 0);
    CHECK(count(diff_text(comparison.subject()), "\x1b") == 0);
}

TEST_CASE("a page is bounded and says what it leaves out", "[tools][diff]") {
    const Comparison comparison("word ", 900);
    const std::string page = diff_page(comparison.subject(), {.strips = 1, .tokens = 100});
    CHECK(count(page, "<section") == 1);
    CHECK_THAT(page, Contains("3 others that differ are left out"));
    CHECK_THAT(page, Contains("792 tokens left out: 100 to 891"));
    CHECK(count(diff_page(comparison.subject(), {.bytes = 1}), "<section") == 1);
}

TEST_CASE("a text file is complete or not there", "[tools][files]") {
    const Folder folder;
    write_text_file(folder / "a.csv", "one\n");
    CHECK(bytes_of_file(folder / "a.csv") == "one\n");
    CHECK_THROWS_WITH(write_text_file(folder / "absent" / "a.csv", "one\n"),
                      Contains("absent/a.csv"));
    std::filesystem::create_directory(folder / "taken");
    CHECK_THROWS_AS(write_text_file(folder / "taken", "one\n"), Error);
    CHECK_FALSE(std::filesystem::exists(folder / "taken.partial"));
}
