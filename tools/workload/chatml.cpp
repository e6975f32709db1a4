#include "tools/workload/chatml.hpp"

#include <algorithm>

namespace kvtape::workload {
namespace {

constexpr std::string_view system_header = "<|im_start|>system";
constexpr std::string_view answer_header = "<|im_start|>assistant";
constexpr std::string_view white_space = " \t\r\n";

bool is_quote(char c) {
    return c == '\'' || c == '"';
}

bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// From its first character that is not in `skipped`.
std::string_view behind(std::string_view text, std::string_view skipped) {
    return text.substr(std::min(text.find_first_not_of(skipped), text.size()));
}

std::string_view trimmed(std::string_view text) {
    text = behind(text, white_space);
    return text.substr(0, text.find_last_not_of(white_space) + 1);
}

/// `\n` of a literal as the line feed that it prints.
std::string with_line_feeds(std::string_view jinja) {
    std::string text;
    for (std::size_t at = 0; at < jinja.size(); ++at)
        if (jinja.substr(at, 2) == "\\n") {
            text += '\n';
            ++at;
        } else {
            text += jinja[at];
        }
    return text;
}

/// The literal that `{% set name = '...' %}` gives a variable; empty where there is none.
std::string_view literal_of(std::string_view text, std::string_view name) {
    for (std::size_t at = text.find("set "); at != std::string_view::npos;
         at = text.find("set ", at + 1)) {
        std::string_view rest = behind(text.substr(at + 4), white_space);
        if (!rest.starts_with(name))
            continue;
        rest = behind(rest.substr(name.size()), white_space);
        if (!rest.starts_with('='))
            continue;
        rest = behind(rest.substr(1), white_space);
        if (!rest.empty() && is_quote(rest.front()))
            if (const std::string_view found = rest.substr(1, rest.find(rest.front(), 1) - 1);
                !found.empty())
                return found;
    }
    return {};
}

/// Whether the nearest tag before `at` asks for tools, of which a recorded chat has none.
bool for_tools(std::string_view text, std::size_t at) {
    const std::size_t begin = text.rfind("{%", at);
    return begin != std::string_view::npos &&
           text.substr(begin, text.find("%}", begin) - begin).find("tools") !=
               std::string_view::npos;
}

/// What the system header at `at` is followed by, besides what a chat itself says.
std::optional<std::string_view> system_message_at(std::string_view text, std::size_t at) {
    const std::string_view whole = behind(text.substr(at + system_header.size()), "\n");
    const std::string_view written =
        whole.substr(0, std::min(whole.find_first_of("'\"{"), whole.find("<|im_end|>")));
    if (!written.empty())
        return written;
    std::string_view rest = whole;
    if (!rest.empty() && is_quote(rest.front()))
        rest = behind(rest.substr(1), white_space);
    const bool continues = rest.starts_with('+') || rest.starts_with('~');
    if (!continues && !rest.starts_with("{{"))
        return for_tools(text, at) ? std::optional<std::string_view>("") : std::nullopt;
    rest = behind(rest, "+~{- \t\r\n(");
    if (!rest.empty() && is_quote(rest.front())) {
        rest.remove_prefix(1);
        const std::string_view literal =
            behind(rest.substr(0, rest.find_first_of("'\"")), white_space);
        return literal.empty() ? std::nullopt : std::optional(literal);
    }
    const auto end = std::find_if_not(rest.begin(), rest.end(), is_name);
    return literal_of(text, rest.substr(0, static_cast<std::size_t>(end - rest.begin())));
}

/// What the end of a template prints: text, and the literals of expressions. What stands behind
/// `enable_thinking is false` is not printed for a chat that does not say so.
std::string printed(std::string_view text) {
    std::string out;
    bool asked_for = false;
    while (!text.empty()) {
        const std::size_t brace = std::min(text.find('{'), text.size());
        out += text.substr(0, brace);
        text.remove_prefix(brace);
        const bool tag = text.starts_with("{%"), comment = text.starts_with("{#");
        if (!tag && !comment && !text.starts_with("{{")) {
            out += text.substr(0, 1);
            text.remove_prefix(std::min<std::size_t>(1, text.size()));
            continue;
        }
        const std::string_view close = tag ? "%}" : comment ? "#}" : "}}";
        const std::size_t end = std::min(text.find(close), text.size());
        const std::string_view inside = text.substr(0, end);
        text.remove_prefix(std::min(end + close.size(), text.size()));
        if (tag)
            asked_for = inside.find("enable_thinking is false") != std::string_view::npos;
        if (tag || comment || asked_for)
            continue;
        for (std::size_t at = inside.find_first_of("'\""); at != std::string_view::npos;) {
            const std::size_t last = std::min(inside.find(inside[at], at + 1), inside.size());
            out += inside.substr(at + 1, last - at - 1);
            at = inside.find_first_of("'\"", last + 1);
        }
    }
    return out;
}

/// Whether the answer begins right behind its header.
bool answer_begins_empty(std::string_view text) {
    const std::size_t asked = text.rfind("add_generation_prompt");
    if (asked != std::string_view::npos) {
        const std::size_t tag = text.find("%}", asked);
        if (tag != std::string_view::npos && text.find("}}", asked) > tag)
            return trimmed(printed(text.substr(tag + 2))) == answer_header;
    }
    const std::size_t last = text.rfind(answer_header);
    if (last == std::string_view::npos)
        return true;
    const std::string_view rest = behind(text.substr(last + answer_header.size()), white_space);
    return rest.empty() || rest.front() == '{' || is_quote(rest.front());
}

}  // namespace

std::optional<std::string> chatml_system_message(std::string_view jinja) {
    const std::string text = with_line_feeds(jinja);
    if (!answer_begins_empty(text))
        return std::nullopt;
    std::string found;
    for (std::size_t at = text.find(system_header); at != std::string::npos;
         at = text.find(system_header, at + 1)) {
        const auto message = system_message_at(text, at);
        if (!message || (!message->empty() && !found.empty() && *message != found))
            return std::nullopt;
        if (!message->empty())
            found = *message;
    }
    return found;
}

}  // namespace kvtape::workload
