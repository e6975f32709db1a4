#pragma once

#include "trace/input.hpp"

#include <memory>
#include <string>
#include <vector>

namespace kvtape {

/// A group and the names of its datasets, in byte order.
struct FoundGroup {
    InputGroup group;
    std::vector<std::string> arrays;
};

/// Every group of the file in ascending byte order of its path. Links that are not hard, groups
/// reachable by two paths and nesting deeper than 16 are format errors.
std::vector<FoundGroup> walk(const std::shared_ptr<const InputFile>& file);

}  // namespace kvtape
