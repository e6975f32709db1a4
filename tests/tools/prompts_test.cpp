#include "tools/workload/prompts.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/checkpoint_files.hpp"
#include "tools/workload/chat_template.hpp"
#include "tools/workload/mentions.hpp"
#include "tools/workload/prompt_file.hpp"

#include <filesystem>
#include <fstream>
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
    CHECK(says("{\"context\": 3, \"question\": \"q\"}", "'context' that is not text but 3"));
    CHECK(says(good + "{\"context\": \"a\" 3}", "mine.jsonl, line 2: not valid JSON: column 17"));
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

TEST_CASE("A line may ask several questions of one context", "[tools][prompts]") {
    const std::vector<WrittenPrompt> prompts = parse_prompts(
        R"({"context": "Ann has 1. Bob has 2.", "task": "counts", "needles": ["Ann has"], )"
        R"("questions": [{"question": "Ann?", "answer": "1", "needles": ["1"]}, )"
        R"({"question": "Both?", "answer": ["1", "2"], "answer_prefix": " They have"}]})",
        "mine.jsonl");
    REQUIRE(prompts.size() == 2);
    CHECK(prompts[0].task == "counts");
    CHECK(prompts[0].needles == std::vector<TextRange>{{0, 7}, {8, 9}});
    CHECK(prompts[0].answer == "1");
    CHECK(prompts[1].context == prompts[0].context);
    CHECK(prompts[1].needles == std::vector<TextRange>{{0, 7}});
    CHECK(prompts[1].answer == "1\n2");
    CHECK(prompts[1].answer_prefix == " They have");

    CHECK(says(R"({"context": "a", "questions": []})", "at least one object"));
    CHECK(
        says(R"({"context": "a", "questions": [3]})", "entry 1 of 'questions': it is not a JSON"));
    CHECK(says(R"({"context": "a", "questions": [{"answer": "1"}]})", "lacks 'question'"));
    CHECK(
        says(R"({"context": "a", "questions": [{"question": "b", "task": "c"}]})", "unknown key"));
    CHECK(says(R"({"context": "a", "question": "b", "questions": [{"question": "b"}]})",
               "both 'questions' and 'question'"));
    CHECK(says(R"({"context": "a", "question": "b", "task": ""})", "empty 'task'"));
    CHECK(says(R"({"context": "a", "question": "b", "task": "all"})", "all tasks together"));
    CHECK(
        says(R"({"context": "a", "question": "b", "answer": [[1]]})", "neither text nor a number"));
}

TEST_CASE("RULER's lines are split into context and question", "[tools][prompts]") {
    const auto parse = [](std::string_view text) {
        return parse_prompts(text, "ruler.jsonl", PromptFormat::ruler).at(0);
    };
    const WrittenPrompt niah = parse(
        R"({"index": 0, "length": 40, "input": "Memorize it.\nOne of the magic numbers for fox is: )"
        R"(4711. It rained.\nWhat is the magic number for fox?", "outputs": ["4711"], )"
        R"("answer_prefix": " The number is"})");
    CHECK(niah.context == "Memorize it.\nOne of the magic numbers for fox is: 4711. It rained.");
    CHECK(niah.joint == "\n");
    CHECK(niah.question == "What is the magic number for fox?");
    CHECK(niah.answer_prefix == " The number is");
    CHECK(niah.answer == "4711");
    CHECK(niah.task == "ruler");
    REQUIRE(niah.needles.size() == 1);
    CHECK(niah.context.substr(niah.needles[0].begin, niah.needles[0].end - niah.needles[0].begin) ==
          "One of the magic numbers for fox is: 4711.");

    const WrittenPrompt chat =
        parse(R"({"input": "[INST] Text.\n\nQuestion: who? [/INST]\n", "outputs": ["Ann", "Bo"]})");
    CHECK(chat.context == "[INST] Text.");
    CHECK(chat.joint == "\n\n");
    CHECK(chat.question == "Question: who? [/INST]\n");
    CHECK(chat.answer == "Ann\nBo");
    CHECK(chat.needles.empty());

    const WrittenPrompt split = parse(
        R"({"context": "Ann lives in Rome.", "question": "Where?", "answer": ["Rome", "Roma"], )"
        R"("answer_prefix": "Answer:", "task": "qa_1", "max_new_tokens": 32})");
    CHECK(split.answer == "Rome | Roma");
    CHECK(split.task == "qa_1");
    CHECK(split.needles == std::vector<TextRange>{{0, 18}});

    const auto refused = [](std::string_view text, const std::string& expected) {
        try {
            parse_prompts(text, "ruler.jsonl", PromptFormat::ruler);
        } catch (const Error& error) {
            UNSCOPED_INFO(error.what());
            return std::string(error.what()).find(expected) != std::string::npos;
        }
        return false;
    };
    CHECK(refused(R"({"input": "one line", "outputs": ["a"]})", "of one line"));
    CHECK(refused(R"({"input": "\n\nq", "outputs": ["a"]})", "of one line"));
    CHECK(refused(R"({"input": "a\nb"})", "lacks 'outputs'"));
    CHECK(refused(R"({"question": "a", "outputs": ["a"]})", "lacks 'context'"));
    CHECK(refused(R"({"input": 3, "outputs": ["a"]})", "not text"));
}

TEST_CASE("An answer that everything mentions is no needle", "[tools][prompts]") {
    std::string context;
    for (int i = 0; i < 17; ++i)
        context += "the word. ";
    const std::vector<std::string> words = {"WORD"};
    CHECK(sentences_that_mention(context, words, 16).empty());
    CHECK(sentences_that_mention(context, words, 17).size() == 17);
    CHECK(sentences_that_mention("swords. A word! Words?\n\nword", words, 16) ==
          std::vector<TextRange>{{8, 15}, {24, 28}});
    CHECK(sentences_that_mention("", words, 16).empty());
}

TEST_CASE("BABILong's needles are the facts about what is asked, where there are any",
          "[tools][prompts]") {
    const auto needles = [](const std::string& question) {
        const WrittenPrompt prompt =
            parse_prompts(
                "{\"input\": \"Mary went to the garden. It rained. John moved to the "
                "garden.\", \"question\": \"" +
                    question + "\", \"target\": \"garden\"}",
                "qa1.jsonl",
                PromptFormat::babilong)
                .at(0);
        CHECK(prompt.answer == "garden");
        CHECK(prompt.task == "babilong");
        return prompt.needles;
    };
    CHECK(needles("Where is John?") == std::vector<TextRange>{{36, 61}});
    CHECK(needles("Where is the apple?") == std::vector<TextRange>{{0, 24}, {36, 61}});
    CHECK_THROWS_AS(
        parse_prompts(R"({"input": "a", "question": "b"})", "qa1", PromptFormat::babilong), Error);
    CHECK_THROWS_AS(parse_prompt_format("longbench"), Error);
}

TEST_CASE("A file of prompts is read a line at a time", "[tools][prompts]") {
    const testing::TemporaryDirectory folder;
    const std::filesystem::path file = folder.path() / "many.jsonl";
    {
        std::ofstream out(file);
        for (int i = 0; i < 3000; ++i)
            out << (i % 7 == 0 ? "\r\n" : "") << R"({"context": ")" << std::string(700, 'x') << " c"
                << i << R"(", "questions": [{"question": "q)" << i
                << R"("}, {"question": "again"}]})" << '\n';
        out << R"({"context": "no line feed", "question": "last"})";
    }
    const PromptFile prompts(file, PromptFormat::kvtape);
    REQUIRE(prompts.size() == 6001);
    for (const int i : {0, 1, 1499, 2999}) {
        CHECK(prompts.read(2 * i).question.substr(1) == std::to_string(i));
        CHECK(prompts.read(2 * i + 1).question == "again");
        CHECK(prompts.read(2 * i + 1).context.substr(702) == std::to_string(i));
    }
    CHECK(prompts.read(6000).question == "last");

    std::ofstream(file, std::ios::in | std::ios::ate) << ' ';
    CHECK(prompts.read(0).question == "q0");
    std::fstream(file, std::ios::in | std::ios::out).seekp(20).write("y", 1);
    CHECK_THROWS_WITH(prompts.read(0), Catch::Contains("line 2: it is not what it was"));
    CHECK(prompts.read(2).question.substr(1) == "1");
    std::ofstream(file) << "\n\n";
    CHECK_THROWS_WITH(prompts.read(6000), Catch::Contains("when the recording began"));
    CHECK_THROWS_WITH(PromptFile(file, PromptFormat::kvtape), Catch::Contains("no prompts"));
    CHECK_THROWS_AS(PromptFile(folder.path(), PromptFormat::kvtape), Error);
    CHECK_THROWS_AS(PromptFile(folder.path() / "none", PromptFormat::kvtape), Error);
}

TEST_CASE("A right answer holds every line of what is wanted, in any case", "[tools][prompts]") {
    CHECK(is_right("In the Garden.", "garden"));
    CHECK(is_right("1, 2 and 3", "3\n1"));
    CHECK_FALSE(is_right("1, 2 and 3", "3\n4"));
    CHECK(is_right("Roma", "Rome | Roma"));
    CHECK_FALSE(is_right("Milan", "Rome | Roma"));
    CHECK_FALSE(is_right("| ", "Rome | "));
}

TEST_CASE("A written prompt is put into a template", "[tools][prompts]") {
    const auto folder = std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model";
    const model::Tokenizer tokenizer = model::Tokenizer::load(folder / "tokenizer.json");
    const WrittenPrompt written{.context = "The pass key is 12.",
                                .question = "Which?",
                                .answer = "12",
                                .needles = {{16, 18}},
                                .joint = {},
                                .answer_prefix = " It is",
                                .task = "keys"};
    const auto document = [&](std::string_view chat) {
        return document_of(written, tokenizer, parse_chat_template(chat), 9);
    };
    const Document with = document("{context}\\n\\nQuestion: {question}\\nAnswer:");
    CHECK(with.context == "<s>The pass key is 12.");
    CHECK(with.question == "\n\nQuestion: Which?\nAnswer: It is");
    CHECK(with.seed == 9);
    CHECK(document("plain").question == "\n\nWhich? It is");
    CHECK(document("llama-2").context == "<s>[INST] The pass key is 12.");
    CHECK(document("llama-2").question == "\n\nWhich? [/INST] It is");
    CHECK(document("<s>a {context}{question}").context == "<s>a The pass key is 12.");
    for (const std::string_view name : chat_template_names())
        CHECK(parse_chat_template(name).name == name);
    for (const char* bad : {"",
                            "llama",
                            "{context}",
                            "{question}{context}",
                            "{context}{question}{question}",
                            "{context}{context}{question}"})
        CHECK_THROWS_AS(parse_chat_template(bad), Error);

    const Prompt prompt = tokenize(document("llama-2"), tokenizer);
    REQUIRE(prompt.spans.size() == 4);
    CHECK(prompt.spans[0].kind == SpanKind::system);
    CHECK(prompt.spans[1].begin == prompt.spans[0].end);
    CHECK(prompt.text.substr(
              0,
              static_cast<std::size_t>(
                  prompt.text_offsets[static_cast<std::size_t>(prompt.spans[1].begin)])) ==
          "<s>[INST]");
    for (const Span& span : prompt.spans)
        if (span.kind == SpanKind::needle) {
            CHECK(span.end - span.begin == 2);
            CHECK(tokenizer.bytes_of(prompt.tokens[static_cast<std::size_t>(span.begin)]) == "1");
        }
    CHECK_THROWS_WITH(expect_tokens(parse_chat_template("chatml"), tokenizer),
                      Catch::Contains("has no token <|im_start|>"));
    CHECK_NOTHROW(expect_tokens(parse_chat_template("llama-2"), tokenizer));
}
