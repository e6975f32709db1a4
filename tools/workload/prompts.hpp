#pragma once

#include "model/tokenizer.hpp"
#include "tools/workload/document.hpp"
#include "tools/workload/lexicon.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::workload {

/// One line of a prompts file.
struct WrittenPrompt {
    std::string context;
    std::string question;
    std::string answer;              ///< empty: not judged
    std::vector<TextRange> needles;  ///< bytes of the context
};

/// Prompts, one JSON object a line: `{"context", "question", "answer", "needles"}`, the last two
/// optional. A needle is text that stands in the context exactly once, or `[begin, end]` in Unicode
/// code points. Blank lines are skipped. Everything else is a format error that names the line.
std::vector<WrittenPrompt> parse_prompts(std::string_view text, std::string_view what);
std::vector<WrittenPrompt> load_prompts(const std::filesystem::path& file);

/// The document of a written prompt; its task is `prompts`. With a lexicon the question is put into
/// its template, otherwise it follows the context after an empty line.
Document document_of(const WrittenPrompt& prompt,
                     const model::Tokenizer& tokenizer,
                     const Lexicon* lexicon,
                     std::uint64_t seed);

}  // namespace kvtape::workload
