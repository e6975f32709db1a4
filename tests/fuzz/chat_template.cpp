#include "tools/workload/chat_template.hpp"

#include "tests/fuzz/fuzz.hpp"
#include "tools/workload/chatml.hpp"

namespace {

using namespace kvtape::workload;

bool has_mark(std::string_view text) {
    return text.find("{context}") != std::string_view::npos ||
           text.find("{question}") != std::string_view::npos;
}

/// A template of one's own holds context and question once each. What begins with a zero is a
/// `tokenizer_config.json`, with a one ChatML, all else what --template says.
void parse(std::string_view text) {
    if (!text.empty() && text.front() == '\0') {
        template_in_config(text.substr(1), "input");
        return;
    }
    if (!text.empty() && text.front() == '\1') {
        chatml_system_message(text.substr(1));
        return;
    }
    const ChatTemplate chat = parse_chat_template(text);
    if (has_mark(chat.before) || has_mark(chat.between.value_or("")) || has_mark(chat.after) ||
        (chat.name == "own") != chat.between.has_value())
        std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse);
}
