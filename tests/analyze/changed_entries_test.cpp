#include "analyze/changed_entries.hpp"

#include "tests/support/catch.hpp"

using namespace kvtape;

namespace {

const std::vector<Block> blocks = {{0, 4, false}, {4, 6, false}};

/// Entries of KV head 0, two numbers wide: key and value both hold `filled`.
MergedEntries changes(const std::vector<std::pair<MergedEntries::Entry, float>>& made) {
    MergedEntries changed;
    for (const auto& [entry, filled] : made) {
        changed.entries.push_back(entry);
        changed.keys.insert(changed.keys.end(), 2, filled);
        changed.values.insert(changed.values.end(), 2, filled);
    }
    return changed;
}

std::int64_t count(const MergedEntries& a,
                   const MergedEntries& b,
                   const std::vector<Keeper>& keeper,
                   std::int32_t head = 0) {
    const std::int64_t found = changed_differently({a, blocks}, {b, blocks}, head, keeper);
    CHECK(changed_differently({b, blocks}, {a, blocks}, head, keeper) == found);
    return found;
}

}  // namespace

TEST_CASE("entries that one side changed count where both hold them", "[analyze][diff]") {
    const MergedEntries none, turned = changes({{{0, 0, 1}, 2.0f}, {{0, 0, 3}, 4.0f}});
    const std::vector<Keeper> all(4, Keeper::both);
    CHECK(count(none, none, all) == 0);
    CHECK(count(turned, turned, all) == 0);
    CHECK(count(none, turned, all) == 2);
    CHECK(count(none, turned, {Keeper::both, Keeper::only_b, Keeper::neither, Keeper::both}) == 1);
    CHECK(count(none, turned, all, 1) == 0);
    CHECK(count(turned, changes({{{0, 0, 1}, 2.0f}, {{0, 0, 3}, 5.0f}}), all) == 1);
    MergedEntries other_value = turned;
    other_value.values.back() += 1.0f;
    CHECK(count(turned, other_value, all) == 1);
}

TEST_CASE("the last change before the moment of comparison counts", "[analyze][diff]") {
    const MergedEntries once = changes({{{0, 0, 1}, 2.0f}});
    const MergedEntries twice = changes({{{0, 0, 1}, 2.0f}, {{1, 0, 1}, 3.0f}});
    CHECK(count(once, twice, std::vector<Keeper>(4, Keeper::both)) == 0);
    CHECK(count(once, twice, std::vector<Keeper>(6, Keeper::both)) == 1);
}
