#include "tools/workload/workload.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::workload;

namespace {

const std::filesystem::path needle_model =
    std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model";

const std::vector<std::string> every_task = {"passkey:digits=5",
                                             "passkey:digits=64",
                                             "multikey:keys=4",
                                             "multivalue:values=3",
                                             "variable:hops=0",
                                             "variable:hops=1",
                                             "variable:hops=7",
                                             "where",
                                             "object"};

/// The needle model's words and tokenizer, read once.
class World {
  public:
    Document make(const std::string& task,
                  const DocumentOptions& options,
                  std::uint64_t index) const {
        return make_document(lexicon_, tokenizer_, parse_task(task), options, index);
    }
    Prompt tokens(const Document& document) const { return tokenize(document, tokenizer_); }
    const model::Tokenizer& tokenizer() const { return tokenizer_; }

  private:
    Lexicon lexicon_ = Lexicon::load(needle_model / "lexicon.json");
    model::Tokenizer tokenizer_ = model::Tokenizer::load(needle_model / "tokenizer.json");
};

const World& world() {
    static const World loaded;
    return loaded;
}

std::string text_of(const Prompt& prompt, const Span& span) {
    const auto begin =
        static_cast<std::size_t>(prompt.text_offsets[static_cast<std::size_t>(span.begin)]);
    const auto end =
        static_cast<std::size_t>(prompt.text_offsets[static_cast<std::size_t>(span.end)]);
    return prompt.text.substr(begin, end - begin);
}

std::vector<Span> spans_of(const Prompt& prompt, SpanKind kind) {
    std::vector<Span> spans;
    std::copy_if(
        prompt.spans.begin(), prompt.spans.end(), std::back_inserter(spans), [&](const Span& span) {
            return span.kind == kind;
        });
    return spans;
}

std::string refusal(const std::string& spec) {
    try {
        parse_task(spec);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::usage);
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("A context has exactly the tokens asked for and ends where the question begins",
          "[tools][workload]") {
    for (const std::string& task : every_task)
        for (const Position length : {300, 301, 302, 303, 304, 305, 512, 777, 1024, 2048})
            for (std::uint64_t seed = 0; seed < 3; ++seed) {
                const Document document =
                    world().make(task, {.length = length, .depths = {}, .seed = seed}, seed);
                const model::Encoding whole =
                    world().tokenizer().encode(document.context + document.question);
                const auto boundary =
                    std::lower_bound(whole.begins.begin(),
                                     whole.begins.end(),
                                     static_cast<std::int64_t>(document.context.size()));
                INFO(task << " at " << length << " with seed " << seed);
                REQUIRE(boundary - whole.begins.begin() == length);
                // The full stop and the two line feeds after it are one token of this model.
                REQUIRE(document.context.back() == '.');
                REQUIRE(*boundary - static_cast<std::int64_t>(document.context.size()) == 2);
                REQUIRE(document.question.rfind("\n\nQuestion: ", 0) == 0);
                const Prompt prompt = world().tokens(document);
                REQUIRE(prompt.tokens == whole.ids);
                REQUIRE(prompt.context_len == length);
                REQUIRE(prompt.prompt_len == static_cast<Position>(whole.ids.size()));
            }
}

TEST_CASE("A context can be as short as its needles, and one token more, and so on",
          "[tools][workload]") {
    for (const Position length : {40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 60, 70})
        for (std::uint64_t index = 0; index < 8; ++index) {
            const Document document = world().make(
                "passkey:digits=16", {.length = length, .depths = {}, .seed = 5}, index);
            CHECK(world().tokens(document).context_len == length);
        }
}

TEST_CASE("Needles stand verbatim in their spans and hold the answer", "[tools][workload]") {
    for (const std::string& task : every_task)
        for (std::uint64_t index = 0; index < 6; ++index) {
            const Document document =
                world().make(task, {.length = 600, .depths = {}, .seed = 1}, index);
            const Prompt prompt = world().tokens(document);
            const std::vector<Span> needles = spans_of(prompt, SpanKind::needle);
            INFO(task << " sequence " << index);
            REQUIRE(needles.size() == document.needles.size());
            std::string sentences;
            for (std::size_t i = 0; i < needles.size(); ++i) {
                const TextRange range = document.needles[i];
                const std::string sentence =
                    document.context.substr(range.begin, range.end - range.begin);
                CHECK(needles[i].group == 0);
                CHECK(needles[i].end <= prompt.context_len);
                CHECK(text_of(prompt, needles[i]).find(sentence) != std::string::npos);
                CHECK(text_of(prompt, needles[i]).size() <= sentence.size() + 2);
                sentences += sentence;
            }
            const std::string first = document.answer.substr(0, document.answer.find(','));
            CHECK(sentences.find(first) != std::string::npos);
        }
}

TEST_CASE("Distractors never overlap needles and are not asked for", "[tools][workload]") {
    for (const std::string& task : every_task)
        for (std::uint64_t index = 0; index < 6; ++index) {
            const Prompt prompt =
                world().tokens(world().make(task, {.length = 512, .depths = {}, .seed = 2}, index));
            std::vector<int> uses(static_cast<std::size_t>(prompt.prompt_len), 0);
            for (const Span& span : prompt.spans) {
                if (span.kind != SpanKind::needle && span.kind != SpanKind::distractor)
                    continue;
                CHECK(span.group == (span.kind == SpanKind::needle ? 0 : -1));
                for (Position t = span.begin; t < span.end; ++t)
                    ++uses[static_cast<std::size_t>(t)];
            }
            INFO(task << " sequence " << index);
            CHECK(*std::max_element(uses.begin(), uses.end()) == 1);
        }
    const Prompt keys = world().tokens(
        world().make("multikey:keys=9", {.length = 512, .depths = {}, .seed = 2}, 0));
    CHECK(spans_of(keys, SpanKind::needle).size() == 1);
    CHECK(spans_of(keys, SpanKind::distractor).size() == 8);
}

TEST_CASE("The parts of a prompt cover it without gaps", "[tools][workload]") {
    const Prompt prompt =
        world().tokens(world().make("where", {.length = 400, .depths = {}, .seed = 3}, 0));
    const Span system = spans_of(prompt, SpanKind::system).at(0);
    const Span context = spans_of(prompt, SpanKind::context).at(0);
    const Span question = spans_of(prompt, SpanKind::question).at(0);
    CHECK(system == Span{.kind = SpanKind::system, .begin = 0, .end = 1, .group = -1});
    CHECK(text_of(prompt, system) == "<s>");
    CHECK(context.begin == 1);
    CHECK(context.end == 400);
    CHECK(question.begin == 400);
    CHECK(question.end == prompt.prompt_len);
    CHECK(text_of(prompt, question).rfind("Question: Where is ", 0) == 0);
    CHECK(prompt.text_offsets.size() == prompt.tokens.size() + 1);
    for (std::size_t t = 0; t < prompt.tokens.size(); ++t)
        CHECK(text_of(prompt,
                      {.kind = {},
                       .begin = static_cast<Position>(t),
                       .end = static_cast<Position>(t + 1),
                       .group = -1}) == world().tokenizer().bytes_of(prompt.tokens[t]));
}

TEST_CASE("A document depends on task, seed and index alone", "[tools][workload]") {
    const DocumentOptions options{.length = 512, .depths = {}, .seed = 7};
    const std::string fourth = world().make("object", options, 3).context;
    world().make("object", options, 0);
    CHECK(world().make("object", options, 3).context == fourth);
    CHECK(world().make("object", options, 4).context != fourth);
    CHECK(world().make("where", options, 3).context != fourth);
    CHECK(world().make("object", {.length = 512, .depths = {}, .seed = 8}, 3).context != fourth);
    CHECK(world().make("passkey", options, 0).context ==
          world().make("passkey:digits=16", options, 0).context);
}

TEST_CASE("The asked needle stands at the depths asked for, in turn", "[tools][workload]") {
    const std::vector<double> depths = {0.0, 0.25, 0.5, 0.75, 1.0};
    for (const std::string& task : every_task)
        for (std::uint64_t index = 0; index < 10; ++index) {
            const Prompt prompt = world().tokens(
                world().make(task, {.length = 2048, .depths = depths, .seed = 4}, index));
            const Span last = spans_of(prompt, SpanKind::needle).back();
            const double depth = depths[index % depths.size()];
            // Other facts take up to 16 sentences of room, which pull away from the exact place.
            const double found = static_cast<double>(last.begin + last.end) / (2 * 2048.0);
            INFO(task << " sequence " << index << " at depth " << depth);
            CHECK(found == Approx(depth).margin(0.12));
        }
    const Prompt first =
        world().tokens(world().make("passkey", {.length = 512, .depths = {0.0}, .seed = 4}, 0));
    CHECK(spans_of(first, SpanKind::needle).at(0).begin == 1);
    const Prompt last =
        world().tokens(world().make("passkey", {.length = 512, .depths = {1.0}, .seed = 4}, 0));
    CHECK(spans_of(last, SpanKind::needle).at(0).end == 512);
}

TEST_CASE("Unknown tasks and parameters are refused with the nearest spelling",
          "[tools][workload]") {
    CHECK(refusal("passkye").find("did you mean 'passkey'") != std::string::npos);
    CHECK(refusal("passkey:digit=5").find("did you mean 'digits'") != std::string::npos);
    CHECK(refusal("cooking").find("the tasks are: passkey, multikey") != std::string::npos);
    for (const char* spec : {"",
                             ":",
                             "passkey:",
                             "passkey:digits",
                             "passkey:digits=",
                             "passkey:digits=0",
                             "passkey:digits=-4",
                             "passkey:digits=5.5",
                             "passkey:digits=many",
                             "passkey:digits=99999999999",
                             "passkey:digits=5,digits=6",
                             "where:moves=3"})
        CHECK(refusal(spec) != "accepted");
    CHECK(parse_task("multivalue").spec == "multivalue:values=3");
    CHECK(parse_task("variable:hops=2").size == 2);
    CHECK(parse_task("where").spec == "where");
}

TEST_CASE("A needle longer than the context is refused with the least length",
          "[tools][workload]") {
    try {
        world().make("passkey:digits=64", {.length = 20, .depths = {}, .seed = 0}, 0);
        FAIL("accepted");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::usage);
        const std::string message = error.what();
        const std::size_t at = message.find("at least ");
        REQUIRE(at != std::string::npos);
        const Position least = std::stoi(message.substr(at + 9));
        const Document document =
            world().make("passkey:digits=64", {.length = least, .depths = {}, .seed = 0}, 0);
        CHECK(world().tokens(document).context_len == least);
    }
}

TEST_CASE("An answer counts when it stands free of letters and digits", "[tools][workload]") {
    CHECK(is_right(" The pass key is 48213.", "48213"));
    CHECK(is_right("48213", "48213"));
    CHECK(is_right("148213 or 48213", "48213"));
    CHECK_FALSE(is_right("148213", "48213"));
    CHECK_FALSE(is_right("482134", "48213"));
    CHECK_FALSE(is_right("the parking", "park"));
    CHECK(is_right("are: 1, 2, 3.", "1, 2, 3"));
    CHECK_FALSE(is_right("anything", ""));
}
