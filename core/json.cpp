#include "core/json.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <set>
#include <vector>

namespace kvtape {
namespace {

constexpr int deepest = 64;

/// Where parsing ended, `byte` of them read: `line 2, column 7 has '}' where JSON cannot have it`.
/// A text of one line has no lines to count: it may itself be a line of a file.
std::string place(std::string_view text, std::size_t byte) {
    if (byte > text.size() || text.empty())
        return "it ends too early, after " + std::to_string(text.size()) + " bytes";
    const std::size_t at = std::max<std::size_t>(byte, 1) - 1;
    const std::string_view before = text.substr(0, at);
    const std::size_t begin = before.rfind('\n') + 1;  // npos + 1 is 0
    const auto found = static_cast<unsigned char>(text[at]);
    constexpr std::string_view digits = "0123456789abcdef";
    const std::string shown =
        found >= 0x20 && found < 0x7f
            ? std::string("'") + text[at] + "'"
            : std::string("byte 0x") + digits[found / 16] + digits[found % 16];
    const bool lines = text.find('\n') < text.size() - 1;
    return (lines ? "line " + std::to_string(std::count(before.begin(), before.end(), '\n') + 1) +
                        ", "
                  : std::string()) +
           "column " + std::to_string(at - begin + 1) + " has " + shown +
           " where JSON cannot have it";
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what) {
    std::vector<std::set<std::string>> keys;
    const auto strict = [&](int depth, Json::parse_event_t event, Json& parsed) {
        switch (event) {
            case Json::parse_event_t::object_start:
            case Json::parse_event_t::array_start:
                if (depth >= deepest)
                    throw format_error("reading " + std::string(what) +
                                       ": JSON nested deeper than " + std::to_string(deepest) +
                                       " levels");
                keys.emplace_back();
                break;
            case Json::parse_event_t::object_end:
            case Json::parse_event_t::array_end:
                keys.pop_back();
                break;
            case Json::parse_event_t::key:
                if (!keys.back().insert(parsed.get<std::string>()).second)
                    throw format_error("reading " + std::string(what) + ": the key " +
                                       parsed.dump(-1, ' ', true) + " appears twice");
                break;
            case Json::parse_event_t::value:
                break;
        }
        return true;
    };
    try {
        return Json::parse(text.begin(), text.end(), strict);
    } catch (const Json::parse_error& failure) {
        throw format_error("reading " + std::string(what) +
                           ": not valid JSON: " + place(text, failure.byte) + "; correct it");
    } catch (const Json::exception&) {
        throw format_error("reading " + std::string(what) +
                           ": not valid JSON: it holds a number too large to be read; correct it");
    }
}

std::string to_text(const Json& value) {
    try {
        return value.dump(-1, ' ', false, Json::error_handler_t::replace);
    } catch (const Json::exception& failure) {
        throw internal_error(std::string("writing JSON: ") + failure.what());
    }
}

}  // namespace kvtape
