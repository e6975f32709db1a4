// Chat templates: which one a checkpoint has, and the ids of a prompt that is put into one. The
// templates are written here in the manner of published ones.
#include "tools/workload/chat_template.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/checkpoint_files.hpp"
#include "tools/workload/workload.hpp"

#include <filesystem>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::workload;
using Catch::Matchers::Contains;

namespace {

const std::filesystem::path source_dir = KVTAPE_SOURCE_DIR;

std::string name_of(const std::string& file, const std::string& text) {
    const testing::TemporaryDirectory folder;
    testing::write_file(folder.path() / file, text);
    return chat_template_of(folder.path()).name;
}

std::string jinja(const std::string& text) {
    return name_of("chat_template.jinja", text);
}

/// ChatML as Qwen writes it, with the system message of a chat without one.
std::string chatml(const std::string& system, const std::string& answer = {}) {
    return "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}" +
           (system.empty() ? "" : "{{ '<|im_start|>system\\n" + system + "<|im_end|>\\n' }}") +
           "{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
           "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
           "{{ '<|im_start|>assistant\\n" +
           answer + "' }}{% endif %}";
}

model::Tokenizer tokenizer_of(const std::string& name) {
    return model::Tokenizer::load(source_dir / "tests/model/data/tokenizers" /
                                  (name + ".tokenizer.json"));
}

Prompt prompt_of(const model::Tokenizer& tokenizer, const std::string& chat) {
    const WrittenPrompt written{.context = "hello",
                                .question = " world",
                                .answer = {},
                                .needles = {{0, 5}},
                                .joint = {},
                                .answer_prefix = {},
                                .task = "words"};
    return tokenize(document_of(written, tokenizer, parse_chat_template(chat), 0), tokenizer);
}

}  // namespace

TEST_CASE("A checkpoint's own template is told by its words", "[tools][templates]") {
    CHECK(chat_template_of(testing::TemporaryDirectory().path()).name == "plain");
    CHECK(name_of("tokenizer_config.json", "{}") == "plain");
    CHECK(name_of("tokenizer_config.json", R"({"chat_template": null})") == "plain");
    CHECK(name_of("tokenizer_config.json",
                  R"({"chat_template": "{{ '<|im_start|>' }} <|im_end|>"})") == "chatml");
    CHECK(name_of("tokenizer_config.json",
                  R"({"chat_template": [{"name": "tool_use", "template": ""},)"
                  R"({"name": "default", "template": "<|user|><|end|>"}]})") == "phi-3");
    CHECK(jinja("'<|start_header_id|>' + role + '<|end_header_id|>' '<|eot_id|>'") == "llama-3");
    CHECK(jinja("<|start_header_id|> Cutting Knowledge Date: December 2023 <|eot_id|>") ==
          "llama-3.1");
    CHECK(jinja("<|im_start|>system\nYou are a helpful assistant.<|im_end|>") == "qwen2");
    CHECK(jinja("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
                "assistant.<|im_end|>") == "qwen2.5");
    CHECK(jinja("'[INST] ' + '<<SYS>>' + ' [/INST]'") == "llama-2");
    CHECK(jinja("'[INST] ' + content + ' [/INST]'") == "mistral-v1");
    CHECK(jinja("'[INST] ' + content + '[/INST]'") == "mistral-v3");
    CHECK(jinja("'[INST]' + content + '[/INST]'") == "mistral-tekken");
    CHECK_THROWS_WITH(jinja("{{ messages }}"), Catch::Contains("no family that kvtape knows"));
    CHECK_THROWS_AS(name_of("tokenizer_config.json", R"({"chat_template": 3})"), Error);
    CHECK_THROWS_AS(name_of("tokenizer_config.json", R"({"chat_template": [3]})"), Error);
    CHECK_THROWS_AS(name_of("tokenizer_config.json", "{"), Error);
}

TEST_CASE("Literals of a template stand in either quotes", "[tools][templates]") {
    CHECK(jinja(R"({{- "[INST] " + message["content"] + "[/INST]" }})") == "mistral-v3");
    CHECK(jinja(R"({{- "[INST]" + message["content"] + "[/INST]" }})") == "mistral-tekken");
    CHECK(jinja(R"({{- "[INST] " + message["content"] + " [/INST]" }})") == "mistral-v1");
    CHECK(jinja(R"({{- " [INST] " + message["content"] + " [/INST]" }})") == "mistral-v1-spaced");
    CHECK(parse_chat_template("mistral-v1-spaced").before == " [INST] ");
    CHECK_THROWS_WITH(jinja("{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"),
                      Contains("no family that kvtape knows"));
    CHECK_THROWS_WITH(jinja(R"({%- set default_system_message = "You are Small." %})"
                            R"({{- "[SYSTEM_PROMPT]" + system_message + "[/SYSTEM_PROMPT]" }})"
                            R"({{- "[INST]" + message["content"] + "[/INST]" }})"),
                      Contains("system message of no family"));
}

TEST_CASE("ChatML is the known template that prints the same system message",
          "[tools][templates]") {
    CHECK(jinja(chatml("")) == "chatml");
    CHECK(jinja(chatml("You are a helpful assistant.")) == "qwen2");
    CHECK(jinja(chatml("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")) ==
          "qwen2.5");
    for (const char* message : {"You are a helpful AI assistant named Small, trained by us",
                                "You are a helpful assistant",
                                "Please reason step by step."})
        CHECK_THROWS_WITH(
            jinja(chatml(message)),
            Contains("behind a system message") && Contains("--template") && Contains("{context}"));
    const std::string content = "{{- messages[0].content + '\\n\\n' }}";
    const std::string tools = "{%- if tools %}{{- '<|im_start|>system\\n' }}" + content +
                              "{{- 'You may call tools.<|im_end|>\\n' }}{%- else %}";
    CHECK(jinja(tools +
                "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}"
                "{%- endif %}" +
                chatml("")) == "chatml");
    // A system message that is put together, or that a variable holds.
    CHECK_THROWS_AS(jinja("{%- if think %}{{- '<|im_start|>system\\n' }}{{- '## Facts' }}"
                          "{{- '<|im_end|>\\n' }}{%- endif %}" +
                          chatml("")),
                    Error);
    CHECK_THROWS_AS(jinja("{% set system_message = 'Be brief.' %}{{ '<|im_start|>system\\n' + "
                          "system_message + '<|im_end|>\\n' }}" +
                          chatml("")),
                    Error);
    CHECK(jinja("{% set system_message = messages[0].content %}{{ '<|im_start|>system\\n' + "
                "system_message + '<|im_end|>\\n' }}" +
                chatml("")) == "chatml");
    CHECK(jinja("{% set system_message = 'You are a helpful assistant.' %}"
                "{{ '<|im_start|>system\\n' + system_message + '<|im_end|>\\n' }}" +
                chatml("")) == "qwen2");
    CHECK_THROWS_AS(jinja("<|im_start|>system\nBe brief.<|im_end|>\n" + chatml("")), Error);
}

TEST_CASE("ChatML that begins the answer itself is refused", "[tools][templates]") {
    const auto ends_with = [](const std::string& end) {
        return jinja(
            "{{ '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}"
            "{%- if add_generation_prompt %}" +
            end + "{%- endif %}");
    };
    CHECK_THROWS_WITH(jinja(chatml("", "<think>\\n")), Contains("<think>"));
    CHECK(ends_with("{{- '<|im_start|>assistant\\n' }}") == "chatml");
    CHECK(ends_with("<|im_start|>assistant\n") == "chatml");
    CHECK(ends_with(R"({{ "<|im_start|>assistant" + "\n" }})") == "chatml");
    CHECK(ends_with("{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and "
                    "enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
                    "{%- endif %}") == "chatml");
    CHECK_THROWS_AS(ends_with("{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is false %}"
                              "{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}"
                              "{{- '<think>\\n' }}{%- endif %}"),
                    Error);
    CHECK_THROWS_AS(ends_with("<|im_start|>assistant\n<think>"), Error);
    CHECK_THROWS_AS(jinja("<|im_end|>{{ '<|im_start|>assistant\\nSure: ' }}"), Error);
    CHECK(jinja("<|im_end|>{{ '<|im_start|>assistant\\n' if add_generation_prompt else '' }}") ==
          "chatml");
}

TEST_CASE("Mistral's templates are for tokenizers with their tokens", "[tools][templates]") {
    const model::Tokenizer mistral = tokenizer_of("mistral");
    const model::Tokenizer needle =
        model::Tokenizer::load(source_dir / "data/needle-model/tokenizer.json");
    for (const char* name : {"mistral-v3", "mistral-tekken"}) {
        CHECK_THROWS_WITH(expect_tokens(parse_chat_template(name), needle),
                          Contains("has no token [INST]"));
        CHECK_THROWS_WITH(expect_tokens(parse_chat_template(name), mistral),
                          Contains("has no token [/INST]"));
    }
    CHECK_NOTHROW(expect_tokens(parse_chat_template("mistral-v1"), needle));
}

// Ids from tokenizers 0.23 and transformers 5.23: tokenizer("hello world"), and what the template
// prints ("<s>[INST] hello world[/INST]") encoded as it stands.
TEST_CASE("A prompt without a chat template begins as the tokenizer begins a text",
          "[tools][templates]") {
    const model::Tokenizer tokenizer = tokenizer_of("mistral");
    const std::vector<std::int32_t> text{1, 339, 350, 312, 312, 315, 530, 380, 312, 305};
    for (const char* chat : {"{context}{question}", "<s>{context}{question}"}) {
        const Prompt prompt = prompt_of(tokenizer, chat);
        const bool written = chat[0] == '<';
        std::vector<std::int32_t> expected = text;
        if (written)
            expected.erase(expected.begin() + 1);
        CHECK(prompt.tokens == expected);
        CHECK(prompt.text == "<s>hello world");
        CHECK(prompt.context_len == (written ? 5 : 6));
        CHECK(prompt.spans.at(0) ==
              Span{.kind = SpanKind::system, .begin = 0, .end = 1, .group = -1});
        CHECK(prompt.spans.at(2) ==
              Span{.kind = SpanKind::needle, .begin = 1, .end = prompt.context_len, .group = 0});
        CHECK(prompt.text_offsets.at(1) == 3);
        CHECK(prompt.text_offsets.at(static_cast<std::size_t>(prompt.context_len)) == 8);
    }
    CHECK(prompt_of(tokenizer, "mistral-v3").tokens ==
          tokenizer.encode("<s>[INST] hello\n\n world[/INST]").ids);
}

TEST_CASE("Prompts of every tokenizer have the ids of the whole text in its template",
          "[tools][templates]") {
    const Lexicon lexicon = Lexicon::load(source_dir / "data/needle-model/lexicon.json");
    for (const char* name :
         {"flags", "gpt2", "llama2", "llama3", "mistral", "phi3", "prefixed", "qwen2", "words"}) {
        INFO(name);
        const model::Tokenizer tokenizer = tokenizer_of(name);
        const std::string begin = begin_of_text(tokenizer);
        const auto expect_ids = [&](const Prompt& prompt) {
            REQUIRE(prompt.text.starts_with(begin));
            std::vector<std::int32_t> ids =
                tokenizer.encode_in_template(prompt.text.substr(begin.size())).ids;
            const std::vector<std::int32_t> behind = tokenizer.encode_in_template("").ids;
            const std::size_t before = begin.empty() ? 0 : tokenizer.encode(begin).ids.size();
            ids.resize(ids.size() - (behind.size() - std::min(before, behind.size())));
            if (!tokenizer.template_prefix()) {
                const std::vector<std::int32_t> first = tokenizer.encode(begin).ids;
                ids.insert(ids.begin(), first.begin(), first.end());
            }
            CHECK(prompt.tokens == ids);
        };
        expect_ids(prompt_of(tokenizer, "plain"));
        expect_ids(prompt_of(tokenizer, "Read: {context}{question}"));
        const Document document = make_document(lexicon,
                                                tokenizer,
                                                parse_task("passkey:digits=5"),
                                                {.length = 500, .depths = {}, .seed = 3},
                                                0);
        const Prompt prompt = tokenize(document, tokenizer);
        CHECK(prompt.context_len == 500);
        expect_ids(prompt);
    }
}
