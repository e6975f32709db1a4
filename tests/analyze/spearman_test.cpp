#include "analyze/spearman.hpp"

#include "core/philox.hpp"
#include "tests/support/analysis_twins.hpp"
#include "tests/support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

using namespace kvtape;

TEST_CASE("Spearman's rho agrees with its definition on a thousand rows with ties",
          "[analyze][spearman]") {
    for (std::uint64_t stream = 0; stream < 1000; ++stream) {
        const Philox random(11, stream);
        const std::size_t size = 3 + random.below(0, 40);
        const std::uint32_t values = 2 + random.below(1, 30);
        std::vector<double> a, b;
        for (std::size_t i = 0; i < size; ++i) {
            a.push_back(random.below(2 + 2 * i, values));
            b.push_back(random.below(3 + 2 * i, values));
        }
        const auto found = spearman_rho(a, b);
        const double expected =
            reference::naive_pearson(reference::naive_ranks(a), reference::naive_ranks(b));
        if (std::isnan(expected))
            REQUIRE_FALSE(found.has_value());
        else
            REQUIRE(found.value() == Approx(expected).margin(1e-12));
    }
}

TEST_CASE("Spearman's rho is 1 for a rising and -1 for a falling curve", "[analyze][spearman]") {
    const std::vector<double> a = {1, 2, 3, 10}, rising = {0, 1, 100, 101}, falling = {3, 2, 1, 0};
    CHECK(spearman_rho(a, rising).value() == 1.0);
    CHECK(spearman_rho(a, falling).value() == -1.0);
}

TEST_CASE("Spearman's rho leaves out pairs that are not finite, and needs two that differ",
          "[analyze][spearman]") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const std::vector<double> a = {1, nan, 2, 3}, b = {1, 7, 2, 3}, constant = {5, 5, 5, 5};
    CHECK(spearman_rho(a, b).value() == 1.0);
    CHECK_FALSE(spearman_rho(a, constant).has_value());
    CHECK_FALSE(spearman_rho(std::span<const double>(), std::span<const double>()).has_value());
}
