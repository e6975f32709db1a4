#pragma once

#include "model/tokenizer.hpp"
#include "tools/workload/prompts.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::workload {

/// What a model reads around a context and a question. Chat templates of checkpoints are programs
/// (Jinja); these are the fixed texts that they print for one message of a user (docs/cli.md).
struct ChatTemplate {
    std::string name;
    std::string before;
    std::optional<std::string> between;  ///< absent: what the prompt itself says
    std::string after;
};

/// The names of the templates that kvtape knows, `plain` first.
std::vector<std::string_view> chat_template_names();

/// The template of that name, or the one that a text with `{context}` and, behind it, `{question}`
/// writes; in the text `\n` is a line feed. Everything else is a usage error.
ChatTemplate parse_chat_template(std::string_view text);

/// The template that is the same text as the checkpoint's own, which stands in its
/// `tokenizer_config.json` or `chat_template.jinja`: found by the words that tell families apart.
/// `plain` where the checkpoint has none; a template of another family is a format error.
ChatTemplate chat_template_of(const std::filesystem::path& checkpoint);

/// The template (Jinja) in the text of a `tokenizer_config.json`; empty where it has none. One that
/// is neither text nor a list with a `default` is a format error that names `what`.
std::string template_in_config(std::string_view text, const std::string& what);

/// Refuses, with a format error, a tokenizer that lacks a token which the template names
/// (`<|im_start|>`): the model would read its letters.
void expect_tokens(const ChatTemplate& chat, const model::Tokenizer& tokenizer);

/// The document of a written prompt: begin-of-text token, template, context, question, and what the
/// answer begins with.
Document document_of(const WrittenPrompt& prompt,
                     const model::Tokenizer& tokenizer,
                     const ChatTemplate& chat,
                     std::uint64_t seed);

}  // namespace kvtape::workload
