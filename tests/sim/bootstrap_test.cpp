#include "sim/bootstrap.hpp"

#include "core/philox.hpp"
#include "core/reduce.hpp"
#include "tests/support/catch.hpp"

#include <cmath>

using namespace kvtape;

namespace {

/// As the contract says it: every resample drawn word by word, all means sorted.
Interval naive_interval(const std::vector<double>& values) {
    const Philox random(bootstrap_seed);
    const auto count = static_cast<std::uint32_t>(values.size());
    std::vector<double> means;
    std::uint64_t word = 0;
    for (int resample = 0; resample < bootstrap_resamples; ++resample) {
        double sum = 0.0;
        for (std::uint32_t i = 0; i < count; ++i)
            sum += values[random.below(word++, count)];
        means.push_back(sum / static_cast<double>(count));
    }
    return {ordered_mean(values), quantile(means, 0.025), quantile(means, 0.975)};
}

void expect_naive_interval(const std::vector<double>& values) {
    const Interval found = bootstrap_mean(values), expected = naive_interval(values);
    CHECK(found.mean == expected.mean);
    CHECK(found.low == expected.low);
    CHECK(found.high == expected.high);
}

}  // namespace

TEST_CASE("intervals have the bits of sorted resamples, whatever the values look like",
          "[sim][bootstrap]") {
    const Philox random(7);
    for (const std::size_t count : {4u, 5u, 24u, 100u}) {
        std::vector<double> even, skewed, ties, outlier(count, 0.25), far(count, 1e-9);
        for (std::size_t i = 0; i < count; ++i) {
            even.push_back(random.uniform(i));
            skewed.push_back(std::pow(random.uniform(i), 12.0));
            ties.push_back(random.uniform(i) < 0.8 ? 0.0 : 1.0);
        }
        outlier.back() = 0.75;
        far.front() = -1e9;
        const std::vector<double> constant(count, 0.3);
        for (const auto& values : {even, skewed, ties, outlier, far, constant})
            expect_naive_interval(values);
    }
}

TEST_CASE("columns resampled together have the bits of each resampled alone", "[sim][bootstrap]") {
    const Philox random(8);
    std::uint64_t draw = 0;
    std::vector<std::vector<double>> columns = {{}, {0.5}, std::vector<double>(7, 0.1)};
    for (const std::size_t count : {24u, 5u, 24u, 3u, 24u, 24u, 24u, 24u, 24u, 5u, 24u, 24u, 24u}) {
        columns.emplace_back();
        for (std::size_t i = 0; i < count; ++i)
            columns.back().push_back(random.uniform(draw++));
    }
    const Bootstrap bootstrap;
    const std::vector<Interval> found = bootstrap.means(columns);
    REQUIRE(found.size() == columns.size());
    for (std::size_t i = 0; i < columns.size(); ++i) {
        const Interval alone = bootstrap.mean(columns[i]);
        CHECK(found[i].mean == alone.mean);
        CHECK(std::isnan(found[i].low) == (columns[i].size() < bootstrap_least));
        if (columns[i].size() < bootstrap_least)
            continue;
        CHECK(found[i].low == alone.low);
        CHECK(found[i].high == alone.high);
    }
    expect_naive_interval(columns.back());
}
