#include "tools/workload/document.hpp"

#include "tools/workload/mentions.hpp"

#include <algorithm>
#include <utility>

namespace kvtape::workload {
namespace {

Position first_beginning_at(std::size_t byte, const model::Encoding& encoding) {
    return static_cast<Position>(std::lower_bound(encoding.begins.begin(),
                                                  encoding.begins.end(),
                                                  static_cast<std::int64_t>(byte)) -
                                 encoding.begins.begin());
}

/// How many tokens hold bytes of `[0, byte)` alone.
Position ended_by(std::size_t byte, const model::Encoding& encoding) {
    const auto next = std::upper_bound(
        encoding.ends.begin(), encoding.ends.end(), static_cast<std::int64_t>(byte));
    return static_cast<Position>(next - encoding.ends.begin());
}

/// The tokens that hold bytes of `range`.
Span covering(SpanKind kind, TextRange range, const model::Encoding& encoding, int group) {
    return {.kind = kind,
            .begin = ended_by(range.begin, encoding),
            .end = first_beginning_at(range.end, encoding),
            .group = group};
}

std::vector<std::string> split(std::string_view text, std::string_view by) {
    std::vector<std::string> parts;
    for (std::size_t end = text.find(by); end != std::string_view::npos; end = text.find(by)) {
        parts.emplace_back(text.substr(0, end));
        text.remove_prefix(end + by.size());
    }
    parts.emplace_back(text);
    return parts;
}

void append(const model::Encoding& part, std::int64_t begin, model::Encoding& whole) {
    whole.ids.insert(whole.ids.end(), part.ids.begin(), part.ids.end());
    for (const std::int64_t byte : part.begins)
        whole.begins.push_back(begin + byte);
    for (const std::int64_t byte : part.ends)
        whole.ends.push_back(begin + byte);
}

model::Encoding encode(const Document& document, const model::Tokenizer& tokenizer) {
    const std::string text = document.context + document.question;
    if (document.begin == 0)
        return tokenizer.encode(text);
    const std::string_view all(text);
    model::Encoding whole = tokenizer.encode(all.substr(0, document.begin));
    append(tokenizer.encode(all.substr(document.begin)),
           static_cast<std::int64_t>(document.begin),
           whole);
    return whole;
}

}  // namespace

Prompt tokenize(const Document& document, const model::Tokenizer& tokenizer) {
    Prompt prompt;
    prompt.text = document.context + document.question;
    prompt.task = document.task;
    prompt.answer = document.answer;
    prompt.seed = document.seed;
    model::Encoding encoding = encode(document, tokenizer);
    prompt.context_len = first_beginning_at(document.context.size(), encoding);
    prompt.prompt_len = static_cast<Position>(encoding.ids.size());

    const bool begins = !encoding.ids.empty() && tokenizer.is_special(encoding.ids.front());
    const Position lead =
        document.lead > 0 ? ended_by(document.lead, encoding) : Position{begins ? 1 : 0};
    if (lead > 0)
        prompt.spans.push_back({.kind = SpanKind::system, .begin = 0, .end = lead, .group = -1});
    prompt.spans.push_back(
        {.kind = SpanKind::context, .begin = lead, .end = prompt.context_len, .group = -1});
    for (const TextRange& needle : document.needles)
        prompt.spans.push_back(covering(SpanKind::needle, needle, encoding, 0));
    for (const TextRange& distractor : document.distractors)
        prompt.spans.push_back(covering(SpanKind::distractor, distractor, encoding, -1));
    if (prompt.prompt_len > prompt.context_len)
        prompt.spans.push_back({.kind = SpanKind::question,
                                .begin = prompt.context_len,
                                .end = prompt.prompt_len,
                                .group = 0});
    prompt.tokens = std::move(encoding.ids);
    prompt.text_offsets = std::move(encoding.begins);
    prompt.text_offsets.push_back(static_cast<std::int64_t>(prompt.text.size()));
    return prompt;
}

Position context_tokens(const Document& document, const model::Tokenizer& tokenizer) {
    return first_beginning_at(document.context.size(), encode(document, tokenizer));
}

std::string begin_of_text(const model::Tokenizer& tokenizer) {
    if (const std::optional<std::string> prefix = tokenizer.template_prefix())
        return *prefix;
    for (const char* candidate : {"<s>", "<|begin_of_text|>"}) {
        const model::Encoding encoding = tokenizer.encode(candidate);
        if (encoding.ids.size() == 1 && tokenizer.is_special(encoding.ids.front()))
            return candidate;
    }
    return {};
}

bool is_right(std::string_view generated, std::string_view answer) {
    if (answer.empty())
        return false;
    const std::string text = lower_case(generated);
    const std::vector<std::string> wanted = split(lower_case(answer), "\n");
    return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& line) {
        const std::vector<std::string> choices = split(line, alternative);
        return std::any_of(choices.begin(), choices.end(), [&](const std::string& choice) {
            return mentions(text, choice);
        });
    });
}

}  // namespace kvtape::workload
