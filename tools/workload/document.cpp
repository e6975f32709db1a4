#include "tools/workload/document.hpp"

#include <algorithm>
#include <utility>

namespace kvtape::workload {
namespace {

bool is_word_character(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

Position first_beginning_at(std::size_t byte, const model::Encoding& encoding) {
    return static_cast<Position>(std::lower_bound(encoding.begins.begin(),
                                                  encoding.begins.end(),
                                                  static_cast<std::int64_t>(byte)) -
                                 encoding.begins.begin());
}

/// The tokens that hold bytes of `range`.
Span covering(SpanKind kind, TextRange range, const model::Encoding& encoding, int group) {
    const auto begin = std::upper_bound(
        encoding.ends.begin(), encoding.ends.end(), static_cast<std::int64_t>(range.begin));
    return {.kind = kind,
            .begin = static_cast<Position>(begin - encoding.ends.begin()),
            .end = first_beginning_at(range.end, encoding),
            .group = group};
}

}  // namespace

Prompt tokenize(const Document& document, const model::Tokenizer& tokenizer) {
    Prompt prompt;
    prompt.text = document.context + document.question;
    prompt.task = document.task;
    prompt.answer = document.answer;
    prompt.seed = document.seed;
    model::Encoding encoding = tokenizer.encode(prompt.text);
    prompt.context_len = first_beginning_at(document.context.size(), encoding);
    prompt.prompt_len = static_cast<Position>(encoding.ids.size());

    const bool begins = !encoding.ids.empty() && tokenizer.is_special(encoding.ids.front());
    if (begins)
        prompt.spans.push_back({.kind = SpanKind::system, .begin = 0, .end = 1, .group = -1});
    prompt.spans.push_back({.kind = SpanKind::context,
                            .begin = begins ? 1 : 0,
                            .end = prompt.context_len,
                            .group = -1});
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
    return first_beginning_at(document.context.size(),
                              tokenizer.encode(document.context + document.question));
}

std::string begin_of_text(const model::Tokenizer& tokenizer) {
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
    for (std::size_t at = generated.find(answer); at != std::string_view::npos;
         at = generated.find(answer, at + 1)) {
        const std::size_t end = at + answer.size();
        const bool free_before = at == 0 || !is_word_character(generated[at - 1]);
        const bool free_after = end == generated.size() || !is_word_character(generated[end]);
        if (free_before && free_after)
            return true;
    }
    return false;
}

}  // namespace kvtape::workload
