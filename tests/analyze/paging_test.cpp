#include "analyze/paging.hpp"

#include "core/philox.hpp"
#include "tests/support/analysis_twins.hpp"
#include "tests/support/catch.hpp"

#include <numeric>

using namespace kvtape;

TEST_CASE("a page is held while one of its tokens is", "[analyze][paged]") {
    const std::vector<char> kept = {0, 0, 0, 1, 0, 0, 0, 0, 0, 1};
    CHECK(held_pages(kept, 4) == Kept{1, 1, 1, 1, 0, 0, 0, 0, 1, 1});
    CHECK(held_pages(kept, 16) == Kept(10, 1));
    CHECK(held_pages(kept, 1) == kept);
}

TEST_CASE("pages at the budget of a kept set are those with most of it, earlier ones first",
          "[analyze][paged]") {
    const std::vector<char> kept = {0, 1, 0, 1, 1, 1, 0, 0, 0, 1};
    CHECK(chosen_pages(kept, 3) == Kept{0, 0, 0, 1, 1, 1, 0, 0, 0, 1});
    CHECK(chosen_pages(kept, 1) == kept);
    CHECK(chosen_pages(Kept(7, 0), 4) == Kept(7, 0));
    CHECK(chosen_pages(Kept{0, 0, 1, 0, 0, 0, 1, 0}, 4) == Kept{1, 1, 1, 1, 0, 0, 0, 0});
    CHECK(chosen_pages(Kept(9, 1), 4) == Kept(9, 1));
}

TEST_CASE("chosen pages are those of the definition on a thousand kept sets", "[analyze][paged]") {
    for (std::uint64_t stream = 0; stream < 1000; ++stream) {
        const Philox random(44, stream);
        const std::size_t tokens = 1 + random.below(0, 200), block = 1 + random.below(1, 20);
        std::vector<char> kept;
        for (std::size_t t = 0; t < tokens; ++t)
            kept.push_back(random.below(2 + t, 3) == 0 ? 1 : 0);
        const Kept chosen = chosen_pages(kept, block);
        REQUIRE(chosen == reference::naive_chosen_pages(kept, block));
        const Kept held = held_pages(kept, block);
        for (std::size_t t = 0; t < tokens; ++t)
            REQUIRE((held[t] != 0 || (kept[t] == 0 && chosen[t] == 0)));
    }
}
