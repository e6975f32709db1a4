#pragma once

#include "core/types.hpp"
#include "model/tokenizer.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::workload {

/// Bytes `[begin, end)` of a document's context.
struct TextRange {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool operator==(const TextRange&) const = default;
};

/// A prompt as text: what the model reads, and what is known about it.
struct Document {
    std::string context;  ///< begins with the model's begin-of-text token, where it has one
    /// Bytes of the context that are tokens before a text (`<s>`), which is then encoded as one
    /// that begins behind them: some tokenizers write a space before the first word of a text.
    std::size_t begin = 0;
    std::size_t lead = 0;  ///< bytes of the context that come from a chat template
    std::string question;  ///< everything after the context, up to where the answer begins
    std::vector<TextRange> needles;      ///< what the answer follows from
    std::vector<TextRange> distractors;  ///< facts of the same kind that are not asked for
    std::string task;
    std::string answer;  ///< what a right answer contains (`is_right`); empty: not judged
    std::uint64_t seed = 0;
};

/// A prompt as tokens.
struct Prompt {
    std::vector<std::int32_t> tokens;
    std::string text;                        ///< of all tokens, bytes
    std::vector<std::int64_t> text_offsets;  ///< tokens + 1
    std::vector<Span>
        spans;  ///< system, context, needles (group 0), distractors, question (group 0)
    Position context_len = 0;
    Position prompt_len = 0;
    std::string task;
    std::string answer;
    std::uint64_t seed = 0;
};

/// Context and question are tokenised together, as a model expects, behind the begin-of-text token;
/// a token that holds bytes of both (a full stop with the line feeds after it) is the last of the
/// context. A needle covers every token that holds one of its bytes.
Prompt tokenize(const Document& document, const model::Tokenizer& tokenizer);

/// `context_len` of the same prompt.
Position context_tokens(const Document& document, const model::Tokenizer& tokenizer);

/// What begins a text: the tokens that the tokenizer's template puts there. Without a template
/// `<s>` or `<|begin_of_text|>`, whichever is a special token, or "".
std::string begin_of_text(const model::Tokenizer& tokenizer);

/// Between answers of which one is enough.
inline constexpr std::string_view alternative = " | ";

/// Whether `generated` holds `answer` with neither a letter nor a digit right before or after it,
/// whatever the case. An answer of several lines wants each of them; a line with ` | ` in it names
/// alternatives, of which one is enough.
bool is_right(std::string_view generated, std::string_view answer);

}  // namespace kvtape::workload
