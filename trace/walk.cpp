#include "trace/walk.hpp"

#include <algorithm>
#include <set>

namespace kvtape {
namespace {

constexpr int deepest = 16;

void visit(InputGroup group,
           int depth,
           std::set<std::uint64_t>& seen,
           std::vector<FoundGroup>& found) {
    if (depth > deepest)
        group.fail("is nested deeper than " + std::to_string(deepest) + " groups");
    if (!seen.insert(group.address()).second)
        group.fail("is a group that another path also reaches");
    std::vector<std::string> arrays;
    std::vector<InputGroup> groups;
    for (const std::string& name : group.names()) {
        if (group.is_group(name))
            groups.push_back(group.group(name));
        else
            arrays.push_back(name);
    }
    found.push_back({std::move(group), std::move(arrays)});
    for (InputGroup& child : groups)
        visit(std::move(child), depth + 1, seen, found);
}

}  // namespace

std::vector<FoundGroup> walk(const std::shared_ptr<const InputFile>& file) {
    std::vector<FoundGroup> found;
    std::set<std::uint64_t> seen;
    visit(InputGroup::root(file), 0, seen, found);
    std::sort(found.begin(), found.end(), [](const FoundGroup& a, const FoundGroup& b) {
        return a.group.path() < b.group.path();
    });
    return found;
}

}  // namespace kvtape
