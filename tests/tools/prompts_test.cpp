#include "tools/workload/prompts.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

using namespace kvtape;
using namespace kvtape::workload;

namespace {

std::string refusal(std::string_view text) {
    try {
        parse_prompts(text, "mine.jsonl");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::format);
        return error.what();
    }
    return "accepted";
}

bool says(std::string_view text, std::string_view expected) {
    const std::string message = refusal(text);
    UNSCOPED_INFO(message);
    return message.find(expected) != std::string::npos;
}

}  // namespace

TEST_CASE("Needles are given as text or as ranges of characters", "[tools][prompts]") {
    const std::vector<WrittenPrompt> prompts = parse_prompts(
        "{\"context\": \"Caf\u00e9 Zoo is red.\", \"question\": \"Which?\", "
        "\"answer\": \"red\", \"needles\": [\"red\", [3, 8]]}\n"
        "\n"
        "{\"context\": \"a\", \"question\": \"\"}\r\n",
        "mine.jsonl");
    REQUIRE(prompts.size() == 2);
    CHECK(prompts[0].needles == std::vector<TextRange>{{13, 16}, {3, 9}});
    CHECK(prompts[0].answer == "red");
    CHECK(prompts[1].answer.empty());
    CHECK(prompts[1].needles.empty());
}

TEST_CASE("A malformed prompt is refused with its line and what is wrong", "[tools][prompts]") {
    const std::string good = "{\"context\": \"a b\", \"question\": \"q\"}\n";
    CHECK(says("", "no prompts"));
    CHECK(says("\n \n", "no prompts"));
    CHECK(says(good + "{", "mine.jsonl, line 2"));
    CHECK(says(good + "\n[1]", "line 3"));
    CHECK(says("{\"question\": \"q\"}", "lacks 'context'"));
    CHECK(says("{\"context\": \"\", \"question\": \"q\"}", "empty 'context'"));
    CHECK(says("{\"context\": 3, \"question\": \"q\"}", "'context' that is not text"));
    CHECK(says("{\"context\": \"a\", \"qestion\": \"q\"}", "did you mean 'question'"));
    CHECK(says("{\"context\": \"a\", \"question\": \"q\", \"question\": \"r\"}", "twice"));
    CHECK(says(good + "{\"context\": \"\xff\", \"question\": \"q\"}", "line 2"));
    const auto needle = [](const std::string& text) {
        return "{\"context\": \"one two one\", \"question\": \"q\", \"needles\": " + text + "}";
    };
    CHECK(says(needle("\"two\""), "not a list"));
    CHECK(says(needle("[\"three\"]"), "not in its context"));
    CHECK(says(needle("[\"\"]"), "not in its context"));
    CHECK(says(needle("[\"one\"]"), "more than once"));
    CHECK(says(needle("[[1]]"), "neither text nor"));
    CHECK(says(needle("[[-1, 2]]"), "neither text nor"));
    CHECK(says(needle("[[1.5, 2]]"), "neither text nor"));
    CHECK(says(needle("[[2, 2]]"), "is empty"));
    CHECK(says(needle("[[3, 2]]"), "is empty"));
    CHECK(says(needle("[[0, 12]]"), "where its context ends"));
    CHECK(says(needle("[[0, 18446744073709551615]]"), "where its context ends"));
    CHECK(refusal(needle("[[0, 11]]")) == "accepted");
}

TEST_CASE("The question of a written prompt is put into the model's template", "[tools][prompts]") {
    const auto folder = std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model";
    const model::Tokenizer tokenizer = model::Tokenizer::load(folder / "tokenizer.json");
    const Lexicon lexicon = Lexicon::load(folder / "lexicon.json");
    const WrittenPrompt written{.context = "The pass key is 12.",
                                .question = "Which?",
                                .answer = "12",
                                .needles = {{16, 18}}};
    const Document with = document_of(written, tokenizer, &lexicon, 9);
    CHECK(with.context == "<s>The pass key is 12.");
    CHECK(with.question == "\n\nQuestion: Which?\nAnswer:");
    CHECK(with.seed == 9);
    CHECK(document_of(written, tokenizer, nullptr, 9).question == "\n\nWhich?");
    const Prompt prompt = tokenize(with, tokenizer);
    for (const Span& span : prompt.spans)
        if (span.kind == SpanKind::needle) {
            CHECK(span.end - span.begin == 2);
            CHECK(tokenizer.bytes_of(prompt.tokens[static_cast<std::size_t>(span.begin)]) == "1");
        }
}
