#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace kvtape {

using Json = nlohmann::json;

/// Parses one strict JSON document. Duplicate keys, trailing text, invalid UTF-8 and nesting deeper
/// than 64 levels are format errors that name `what` (a file or an object in it).
Json parse_json(std::string_view text, std::string_view what);

/// Compact JSON with sorted keys and no spaces. Bytes that are not UTF-8 become U+FFFD,
/// NaN and infinities null.
std::string to_text(const Json& value);

}  // namespace kvtape
