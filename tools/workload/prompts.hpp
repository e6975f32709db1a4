#pragma once

#include "tools/workload/document.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::workload {

/// One question on one context, as somebody wrote it.
struct WrittenPrompt {
    std::string context;
    std::string question;
    std::string answer;              ///< as `is_right` reads it; empty: not judged
    std::vector<TextRange> needles;  ///< bytes of the context
    std::string joint;  ///< between context and question where no template says it; empty: "\n\n"
    std::string answer_prefix;  ///< the beginning of the answer, which the model is given
    std::string task;
};

/// How a file of prompts is written, one JSON object a line.
enum class PromptFormat {
    kvtape,    ///< `{"context", "question", "answer", "needles"}` and what docs/cli.md names
    ruler,     ///< RULER's `{"input", "outputs"}` or `{"context", "question", "answer"}`
    babilong,  ///< BABILong's `{"input", "question", "target"}`
};

/// The format of that name; another name is a usage error.
PromptFormat parse_prompt_format(std::string_view name);

/// The prompts of one line: as many as it has questions. A needle is text that stands in the
/// context exactly once, or `[begin, end]` in Unicode code points; RULER and BABILong name none, so
/// there the sentences that mention the answer are taken (docs/cli.md). Everything else is a format
/// error that begins with `where`.
std::vector<WrittenPrompt> parse_prompt_line(std::string_view line,
                                             const std::string& where,
                                             PromptFormat format);

/// The prompts of a whole file that lies in memory. Blank lines are skipped, a text without prompts
/// is refused.
std::vector<WrittenPrompt> parse_prompts(std::string_view text,
                                         std::string_view what,
                                         PromptFormat format = PromptFormat::kvtape);

}  // namespace kvtape::workload
