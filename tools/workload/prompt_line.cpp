#include "tools/workload/prompt_line.hpp"

#include "core/error.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace kvtape::workload {
namespace {

/// A long text as an error line quotes it.
std::string beginning_of(const std::string& text) {
    constexpr std::size_t most = 60;
    std::size_t end = std::min(text.size(), most);
    while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u)
        --end;
    return text.substr(0, end);
}

/// A value that is not what was wanted, as JSON.
std::string shown(const Json& value) {
    const std::string whole = to_text(value);
    const std::string begin = beginning_of(whole);
    return begin + (begin.size() < whole.size() ? "..." : "");
}

}  // namespace

PromptLine::PromptLine(Json object, std::string where)
    : object_(std::move(object)),
      where_(std::move(where)) {
    if (!object_.is_object())
        refuse("is not a JSON object");
}

void PromptLine::refuse(const std::string& found) const {
    throw format_error("reading " + where_ + ": it " + found);
}

void PromptLine::expect_keys(std::span<const std::string_view> known) const {
    for (const auto& [key, value] : object_.items()) {
        if (std::find(known.begin(), known.end(), key) != known.end())
            continue;
        const std::string close = nearest(key, known);
        std::string found = "has the unknown key '" + beginning_of(key) + "'";
        if (!close.empty())
            found += " (did you mean '" + close + "'?)";
        found += "; known are ";
        for (const std::string_view name : known)
            found += std::string(name) + (name == known.back() ? "" : ", ");
        refuse(found);
    }
}

std::string PromptLine::text(const char* key) const {
    if (!object_.contains(key))
        return {};
    if (!object_.at(key).is_string())
        refuse("has '" + std::string(key) + "' that is not text but " + shown(object_.at(key)));
    return object_.at(key).get<std::string>();
}

std::string PromptLine::needed_text(const char* key) const {
    if (!object_.contains(key))
        refuse("lacks '" + std::string(key) + "'");
    std::string found = text(key);
    if (found.empty())
        refuse("has an empty '" + std::string(key) + "'");
    return found;
}

std::vector<std::string> PromptLine::texts(const char* key) const {
    if (!object_.contains(key))
        return {};
    const Json& value = object_.at(key);
    if (!value.is_array())
        return {text(key)};
    std::vector<std::string> found;
    for (const Json& entry : value) {
        if (!entry.is_string() && !entry.is_number())
            refuse("has an entry of '" + std::string(key) + "' that is neither text nor a number");
        found.push_back(entry.is_string() ? entry.get<std::string>() : entry.dump());
    }
    return found;
}

std::vector<PromptLine> PromptLine::objects(const char* key) const {
    const Json& list = object_.at(key);
    if (!list.is_array() || list.empty())
        refuse("has '" + std::string(key) + "' that is not a list of at least one object");
    std::vector<PromptLine> found;
    for (const Json& entry : list)
        found.emplace_back(
            entry, where_ + ", entry " + std::to_string(found.size() + 1) + " of '" + key + "'");
    return found;
}

std::vector<TextRange> PromptLine::needles(const std::string& context) const {
    std::vector<TextRange> found;
    if (!object_.contains("needles"))
        return found;
    const Json& needles = object_.at("needles");
    if (!needles.is_array())
        refuse("has 'needles' that are not a list");
    for (const Json& needle : needles)
        found.push_back(needle.is_string() ? find(needle.get<std::string>(), context)
                                           : range(needle, context));
    return found;
}

TextRange PromptLine::find(const std::string& needle, const std::string& context) const {
    const std::size_t begin = needle.empty() ? std::string::npos : context.find(needle);
    if (begin == std::string::npos)
        refuse("has a needle that is not in its context: '" + beginning_of(needle) + "'");
    if (context.find(needle, begin + 1) != std::string::npos)
        refuse("has a needle that is in its context more than once: '" + beginning_of(needle) +
               "'; give it as [begin, end]");
    return {begin, begin + needle.size()};
}

TextRange PromptLine::range(const Json& needle, const std::string& context) const {
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
std::size_t PromptLine::byte_of(std::size_t index, const std::string& context) const {
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

}  // namespace kvtape::workload
