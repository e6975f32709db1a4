#include "core/json.hpp"

#include "core/error.hpp"

#include <set>
#include <vector>

namespace kvtape {
namespace {

constexpr int deepest = 64;

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
    } catch (const Json::exception& failure) {
        throw format_error("reading " + std::string(what) + ": not valid JSON: " + failure.what());
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
