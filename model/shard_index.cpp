#include "model/shard_index.hpp"

#include "model/fields.hpp"

#include <filesystem>

namespace kvtape::model {
namespace {

bool is_plain_file_name(const std::string& name) {
    // `filename` of a path differs from the path as soon as there is a separator in it.
    const std::filesystem::path file(name);
    return !name.empty() && name.find('\0') == std::string::npos && file.filename() == file &&
           name != "." && name != "..";
}

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& what) {
    const Json parsed = parse_json(text, what);
    const Json* map = Fields(parsed, what).find("weight_map");
    if (map == nullptr || !map->is_object())
        throw format_error("reading " + what + ": it has no object weight_map");
    ShardIndex index;
    for (const auto& [tensor, file] : map->items()) {
        if (!file.is_string())
            throw format_error("reading " + what + ": the shard of " + Fields::shown(Json(tensor)) +
                               " is not a file name");
        const auto name = file.get<std::string>();
        if (!is_plain_file_name(name))
            throw format_error("reading " + what + ": the shard " + Fields::shown(file) +
                               " is not a plain file name");
        index.emplace(tensor, name);
    }
    return index;
}

}  // namespace kvtape::model
