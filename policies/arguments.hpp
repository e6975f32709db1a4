#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvtape {

class Files;

/// One parameter of a policy, as `kvtape policies NAME` shows it.
struct Parameter {
    std::string name;
    std::string value;  ///< the default, in the spelling the user would type
    std::string range;  ///< what is allowed: `1..4096`, `avg|max`
    std::string summary;
};

/// A policy spec taken apart: `name(base):key=value,key=value`.
struct Arguments {
    std::string name;
    std::string base;  ///< the spec in parentheses, empty when there is none
    std::vector<std::pair<std::string, std::string>> values;  ///< in the order given
    /// Where parameters that name a file find its content; none where nothing is replayed.
    const Files* files = nullptr;
};

/// Takes a spec apart without knowing any policy. Malformed specs and repeated keys are usage
/// errors.
Arguments parse_spec(std::string_view spec);

}  // namespace kvtape
