#include "tools/workload/chat_template.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "model/files.hpp"
#include "tools/workload/chatml.hpp"

#include <algorithm>
#include <array>
#include <system_error>

namespace kvtape::workload {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_bytes = std::size_t{1} << 26;
constexpr std::string_view context_mark = "{context}";
constexpr std::string_view question_mark = "{question}";

struct Known {
    std::string_view name;
    std::string_view before;
    std::string_view after;
    /// A checkpoint's own template is this one when it holds all of `signs`, in either quotes; the
    /// first that fits counts.
    std::array<std::string_view, 2> signs;
};

constexpr std::string_view nobody = "\x01";  ///< in no template

constexpr std::array<Known, 13> known = {{
    {"plain", "", "", {nobody, ""}},
    {"llama-3.1",
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
     "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
     {"<|start_header_id|>", "Cutting Knowledge Date"}},
    {"llama-3",
     "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
     {"<|start_header_id|>", "<|eot_id|>"}},
    {"qwen2.5",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
     "assistant.<|im_end|>\n<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n",
     {nobody, ""}},
    {"qwen2",
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n",
     {nobody, ""}},
    {"chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", {nobody, ""}},
    {"qwen3-no-think",
     "<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
     {nobody, ""}},
    {"llama-2", "[INST] ", " [/INST]", {"[INST]", "<<SYS>>"}},
    {"mistral-v1-spaced", " [INST] ", " [/INST]", {"' [INST] '", "' [/INST]'"}},
    {"mistral-v1", "[INST] ", " [/INST]", {"[INST]", "' [/INST]'"}},
    {"mistral-v3", "[INST] ", "[/INST]", {"'[INST] '", "[/INST]"}},
    {"mistral-tekken", "[INST]", "[/INST]", {"'[INST]'", "[/INST]"}},
    {"phi-3", "<|user|>\n", "<|end|>\n<|assistant|>\n", {"<|user|>", "<|end|>"}},
}};

bool holds(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

/// Jinja writes a literal between apostrophes or quotation marks.
bool holds_in_quotes(std::string_view text, std::string_view part) {
    std::string quoted(part);
    std::replace(quoted.begin(), quoted.end(), '\'', '"');
    return holds(text, part) || holds(text, quoted);
}

ChatTemplate template_of(const Known& entry) {
    return {.name = std::string(entry.name),
            .before = std::string(entry.before),
            .between = std::nullopt,
            .after = std::string(entry.after)};
}

std::string list_of_names() {
    std::string names;
    for (const Known& entry : known)
        names += (names.empty() ? "" : ", ") + std::string(entry.name);
    return names;
}

/// `\n` and `\\` as the shell leaves them.
std::string without_escapes(std::string_view text) {
    std::string plain;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const bool escape = text[at] == '\\' && at + 1 < text.size();
        if (escape && (text[at + 1] == 'n' || text[at + 1] == '\\'))
            plain += text[++at] == 'n' ? '\n' : '\\';
        else
            plain += text[at];
    }
    return plain;
}

/// "chat_template" is text, or a list of `{"name", "template"}` of which `default` counts.
std::string template_text(const Json& entry, const std::string& what) {
    if (entry.is_null())
        return {};
    if (entry.is_string())
        return entry.get<std::string>();
    if (entry.is_array())
        for (const Json& named : entry)
            if (named.is_object() && named.contains("template") && named["template"].is_string() &&
                named.value("name", Json()) == "default")
                return named["template"].get<std::string>();
    throw format_error("reading " + what +
                       ": its 'chat_template' is neither text nor a list with one named 'default'; "
                       "say with --template what the model reads");
}

std::string own_template(const fs::path& checkpoint) {
    std::error_code absent;
    if (fs::exists(checkpoint / "chat_template.jinja", absent))
        return model::read_text(checkpoint / "chat_template.jinja", most_bytes);
    const fs::path file = checkpoint / "tokenizer_config.json";
    if (!fs::exists(file, absent))
        return {};
    return template_in_config(model::read_text(file, most_bytes), file.string());
}

[[noreturn]] void refuse_own(const fs::path& checkpoint, const std::string& found) {
    throw format_error("reading the chat template of " + checkpoint.string() + ": " + found + " (" +
                       list_of_names() +
                       "); say with --template what the model reads: one of these, or a text with "
                       "{context} and {question}");
}

/// The known template that prints the same system message as this ChatML, and nothing else.
ChatTemplate chatml_of(const std::string& own, const fs::path& checkpoint) {
    const std::optional<std::string> message = chatml_system_message(own);
    if (!message)
        refuse_own(checkpoint,
                   "it writes ChatML, with a system message or with words that begin the answer "
                   "(<think>) that are not of a family that kvtape knows");
    const std::string before =
        (message->empty() ? std::string() : "<|im_start|>system\n" + *message + "<|im_end|>\n") +
        "<|im_start|>user\n";
    for (const Known& entry : known)
        if (entry.before == before)
            return template_of(entry);
    refuse_own(checkpoint,
               "it writes ChatML behind a system message of no family that kvtape knows");
}

void expect_token(const ChatTemplate& chat,
                  const std::string& token,
                  const model::Tokenizer& tokenizer) {
    if (tokenizer.encode(token).ids.size() != 1)
        throw format_error("using the template '" + chat.name +
                           "': the tokenizer of the model has no token " + token +
                           "; choose the template of the model's family with --template, or "
                           "--template plain");
}

}  // namespace

std::vector<std::string_view> chat_template_names() {
    std::vector<std::string_view> names;
    for (const Known& entry : known)
        names.push_back(entry.name);
    return names;
}

std::string template_in_config(std::string_view text, const std::string& what) {
    const Json config = parse_json(text, what);
    return config.is_object() && config.contains("chat_template")
               ? template_text(config["chat_template"], what)
               : std::string();
}

ChatTemplate parse_chat_template(std::string_view text) {
    for (const Known& entry : known)
        if (text == entry.name)
            return template_of(entry);
    const std::string whole = without_escapes(text);
    const std::size_t context = whole.find(context_mark);
    const std::size_t question = whole.find(question_mark);
    if (context == std::string::npos || question == std::string::npos || question < context ||
        whole.find(context_mark, context + 1) != std::string::npos ||
        whole.find(question_mark, question + 1) != std::string::npos)
        throw usage_error("--template is '" + std::string(text) + "'; it must be auto, " +
                          list_of_names() +
                          ", or a text with {context} and, behind it, {question}, each once");
    const std::size_t context_end = context + context_mark.size();
    return {.name = "own",
            .before = whole.substr(0, context),
            .between = whole.substr(context_end, question - context_end),
            .after = whole.substr(question + question_mark.size())};
}

ChatTemplate chat_template_of(const fs::path& checkpoint) {
    const std::string own = own_template(checkpoint);
    if (own.empty())
        return template_of(known.front());
    if (holds(own, "[SYSTEM_PROMPT]") && holds(own, "default_system_message"))
        refuse_own(checkpoint, "it writes a system message of no family that kvtape knows");
    for (const Known& entry : known)
        if (std::all_of(entry.signs.begin(), entry.signs.end(), [&](std::string_view sign) {
                return holds_in_quotes(own, sign);
            }))
            return template_of(entry);
    if (holds(own, "<|im_start|>") && holds(own, "<|im_end|>"))
        return chatml_of(own, checkpoint);
    refuse_own(checkpoint, "it is of no family that kvtape knows");
}

void expect_tokens(const ChatTemplate& chat, const model::Tokenizer& tokenizer) {
    const std::string text = chat.before + chat.between.value_or("") + chat.after;
    for (std::size_t begin = text.find("<|"); begin != std::string::npos;
         begin = text.find("<|", begin + 1)) {
        const std::size_t end = text.find("|>", begin);
        if (end == std::string::npos)
            return;
        expect_token(chat, text.substr(begin, end + 2 - begin), tokenizer);
    }
    if (chat.name == "mistral-v3" || chat.name == "mistral-tekken")
        for (const char* token : {"[INST]", "[/INST]"})
            expect_token(chat, token, tokenizer);
}

Document document_of(const WrittenPrompt& prompt,
                     const model::Tokenizer& tokenizer,
                     const ChatTemplate& chat,
                     std::uint64_t seed) {
    std::string lead = begin_of_text(tokenizer);
    if (!lead.empty() && chat.before.compare(0, lead.size(), lead) == 0)
        lead.clear();
    Document document;
    // A chat template prints the first token as text before its own; elsewhere the tokenizer adds
    // it to a text.
    const bool prints_it = !chat.between && !chat.before.empty();
    document.begin = prints_it ? 0 : lead.size();
    lead += chat.before;
    document.lead = lead.size();
    document.context = lead + prompt.context;
    document.question = chat.between.value_or(prompt.joint.empty() ? "\n\n" : prompt.joint);
    document.question += prompt.question + chat.after + prompt.answer_prefix;
    for (const TextRange needle : prompt.needles)
        document.needles.push_back({lead.size() + needle.begin, lead.size() + needle.end});
    document.task = prompt.task;
    document.answer = prompt.answer;
    document.seed = seed;
    return document;
}

}  // namespace kvtape::workload
