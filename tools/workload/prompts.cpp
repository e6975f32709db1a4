#include "tools/workload/prompts.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "model/files.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace kvtape::workload {
namespace {

constexpr std::size_t most_bytes = std::size_t{1} << 30;
constexpr std::array<std::string_view, 4> known_keys = {"context", "question", "answer", "needles"};

/// One line, and how errors in it are told.
class Line {
  public:
    Line(std::string_view text, std::string where)
        : where_(std::move(where)),
          object_(parse_json(text, where_)) {
        if (!object_.is_object())
            refuse("is not a JSON object");
        for (const auto& [key, value] : object_.items())
            check_key(key);
    }

    WrittenPrompt prompt() const {
        WrittenPrompt prompt{.context = text("context", true),
                             .question = text("question", true),
                             .answer = text("answer", false),
                             .needles = {}};
        if (prompt.context.empty())
            refuse("has an empty 'context'");
        if (!object_.contains("needles"))
            return prompt;
        const Json& needles = object_.at("needles");
        if (!needles.is_array())
            refuse("has 'needles' that are not a list");
        for (const Json& needle : needles)
            prompt.needles.push_back(needle.is_string()
                                         ? find(needle.get<std::string>(), prompt.context)
                                         : range(needle, prompt.context));
        return prompt;
    }

  private:
    void check_key(std::string_view key) const {
        for (const std::string_view known : known_keys)
            if (key == known)
                return;
        const std::string close = nearest(key, known_keys);
        std::string found = "has the unknown key '" + std::string(key) + "'";
        if (!close.empty())
            found += " (did you mean '" + close + "'?)";
        refuse(found + "; known are context, question, answer, needles");
    }

    std::string text(const char* key, bool needed) const {
        if (!object_.contains(key)) {
            if (needed)
                refuse("lacks '" + std::string(key) + "'");
            return {};
        }
        if (!object_.at(key).is_string())
            refuse("has '" + std::string(key) + "' that is not text");
        return object_.at(key).get<std::string>();
    }

    TextRange find(const std::string& needle, const std::string& context) const {
        const std::size_t begin = needle.empty() ? std::string::npos : context.find(needle);
        if (begin == std::string::npos)
            refuse("has a needle that is not in its context: '" + needle.substr(0, 60) + "'");
        if (context.find(needle, begin + 1) != std::string::npos)
            refuse("has a needle that is in its context more than once: '" + needle.substr(0, 60) +
                   "'; give it as [begin, end]");
        return {begin, begin + needle.size()};
    }

    TextRange range(const Json& needle, const std::string& context) const {
        if (!needle.is_array() || needle.size() != 2 || !needle[0].is_number_unsigned() ||
            !needle[1].is_number_unsigned())
            refuse("has a needle that is neither text nor [begin, end]");
        const TextRange range{byte_of(needle[0].get<std::size_t>(), context),
                              byte_of(needle[1].get<std::size_t>(), context)};
        if (range.begin >= range.end)
            refuse("has the needle " + needle.dump() + ", which is empty");
        return range;
    }

    /// Where code point `index` of the context begins.
    std::size_t byte_of(std::size_t index, const std::string& context) const {
        std::size_t byte = 0;
        for (std::size_t i = 0; i < index; ++i) {
            const auto point =
                byte < context.size() ? model::code_point_at(context, byte) : std::nullopt;
            if (!point)
                refuse("has a needle that ends after character " + std::to_string(i) +
                       ", where its context ends");
            byte += point->bytes;
        }
        return byte;
    }

    [[noreturn]] void refuse(const std::string& found) const {
        throw format_error("reading " + where_ + ": it " + found);
    }

    std::string where_;
    Json object_;
};

}  // namespace

std::vector<WrittenPrompt> parse_prompts(std::string_view text, std::string_view what) {
    std::vector<WrittenPrompt> prompts;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.find_first_not_of(" \t\r") == std::string_view::npos)
            continue;
        const std::string where = std::string(what) + ", line " + std::to_string(number);
        prompts.push_back(Line(line, where).prompt());
    }
    if (prompts.empty())
        throw format_error("reading " + std::string(what) + ": it has no prompts");
    return prompts;
}

std::vector<WrittenPrompt> load_prompts(const std::filesystem::path& file) {
    return parse_prompts(model::read_text(file, most_bytes), file.string());
}

Document document_of(const WrittenPrompt& prompt,
                     const model::Tokenizer& tokenizer,
                     const Lexicon* lexicon,
                     std::uint64_t seed) {
    const std::string begin = begin_of_text(tokenizer);
    Document document;
    document.context = begin + prompt.context;
    document.question = lexicon != nullptr
                            ? fill(lexicon->question, {{"question", prompt.question}})
                            : "\n\n" + prompt.question;
    for (const TextRange needle : prompt.needles)
        document.needles.push_back({begin.size() + needle.begin, begin.size() + needle.end});
    document.task = "prompts";
    document.answer = prompt.answer;
    document.seed = seed;
    return document;
}

}  // namespace kvtape::workload
