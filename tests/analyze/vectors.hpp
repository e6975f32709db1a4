#pragma once

#include "core/json.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace kvtape {

/// What scipy made of small rows (make_vectors.py), under one of its headings.
inline Json scipy_vectors(const std::string& heading) {
    const std::filesystem::path path =
        std::filesystem::path(KVTAPE_SOURCE_DIR) / "tests" / "analyze" / "vectors.json";
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    return parse_json(text, path.string()).at(heading);
}

inline std::vector<char> flags(const Json& list) {
    std::vector<char> found;
    for (const Json& flag : list)
        found.push_back(flag.get<int>() != 0 ? 1 : 0);
    return found;
}

}  // namespace kvtape
