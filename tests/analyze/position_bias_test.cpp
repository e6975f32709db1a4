#include "analyze/position_bias.hpp"

#include "core/philox.hpp"
#include "core/topk.hpp"
#include "tests/analyze/vectors.hpp"
#include "tests/support/analysis_twins.hpp"
#include "tests/support/catch.hpp"

#include <cmath>
#include <limits>

using namespace kvtape;

namespace {

constexpr float by_rule = std::numeric_limits<float>::infinity();
constexpr float unscored = std::numeric_limits<float>::quiet_NaN();

struct RandomCase {
    std::vector<float> scores;
    std::vector<char> a, b, counts;
};

RandomCase random_case(std::uint64_t stream) {
    const Philox random(31, stream);
    const std::size_t tokens = 2 + random.below(0, 120);
    const std::uint32_t values = 1 + random.below(1, 60);
    RandomCase made;
    for (std::size_t t = 0; t < tokens; ++t) {
        made.scores.push_back(static_cast<float>(random.below(2 + 4 * t, values)));
        made.a.push_back(random.below(3 + 4 * t, 3) == 0 ? 1 : 0);
        made.b.push_back(random.below(4 + 4 * t, 2) == 0 ? 1 : 0);
        made.counts.push_back(random.below(5 + 4 * t, 5) == 0 ? 0 : 1);
    }
    return made;
}

}  // namespace

TEST_CASE("statistics of position agree with scipy", "[analyze][bias]") {
    for (const Json& known : scipy_vectors("bias")) {
        const auto scores = known["scores"].get<std::vector<float>>();
        const std::vector<char> a = flags(known["a"]), b = flags(known["b"]);
        const std::vector<char> all(a.size(), 1);
        CHECK(position_correlation(scores).value() ==
              Approx(known["spearman"].get<double>()).epsilon(1e-12));
        CHECK(tie_rate(scores).value() == Approx(known["tie_rate"].get<double>()).epsilon(1e-12));
        const KeepProfile profile = keep_profile(a, all);
        for (std::size_t bin = 0; bin < profile_bins; ++bin)
            if (known["profile"][bin].is_null())
                CHECK(std::isnan(profile[bin]));
            else
                CHECK(profile[bin] == Approx(known["profile"][bin].get<double>()).epsilon(1e-12));
        CHECK(keep_slope(profile).value() == Approx(known["slope"].get<double>()).epsilon(1e-9));
        CHECK(position_distance(a, b, all).value() ==
              Approx(known["distance"].get<double>()).epsilon(1e-12));
    }
}

TEST_CASE("statistics of position agree with their definitions on a thousand rows",
          "[analyze][bias]") {
    for (std::uint64_t stream = 0; stream < 1000; ++stream) {
        const RandomCase made = random_case(stream);
        const reference::Row scores(made.scores.begin(), made.scores.end());
        reference::Row positions;
        for (std::size_t t = 0; t < scores.size(); ++t)
            positions.push_back(static_cast<double>(t));
        const double rho = reference::naive_pearson(reference::naive_ranks(scores),
                                                    reference::naive_ranks(positions));
        const auto found = position_correlation(made.scores);
        REQUIRE(found.has_value() == !std::isnan(rho));
        if (found)
            REQUIRE(*found == Approx(rho).margin(1e-12));
        REQUIRE(tie_rate(made.scores).value() ==
                Approx(reference::naive_tie_rate(scores)).margin(1e-12));
        const KeepProfile profile = keep_profile(made.a, made.counts);
        for (std::size_t bin = 0; bin < profile_bins; ++bin) {
            const auto share = reference::naive_kept_share(made.a, made.counts, bin);
            REQUIRE(std::isnan(profile[bin]) == !share.has_value());
            if (share)
                REQUIRE(profile[bin] == Approx(*share).margin(1e-12));
        }
        const double apart = reference::naive_position_distance(made.a, made.b, made.counts);
        const auto distance = position_distance(made.a, made.b, made.counts);
        REQUIRE(distance.has_value() == !std::isnan(apart));
        if (distance)
            REQUIRE(*distance == Approx(apart).margin(1e-12));
    }
}

TEST_CASE("the slope of a profile is that of its line, and of the bins that are defined",
          "[analyze][bias]") {
    KeepProfile line{};
    for (std::size_t bin = 0; bin < profile_bins; ++bin)
        line[bin] = 0.7 - 0.4 * (static_cast<double>(bin) + 0.5) / 20.0;
    CHECK(keep_slope(line).value() == Approx(-0.4).epsilon(1e-12));
    line[3] = line[19] = std::numeric_limits<double>::quiet_NaN();
    CHECK(keep_slope(line).value() == Approx(-0.4).epsilon(1e-12));
    KeepProfile one;
    one.fill(std::numeric_limits<double>::quiet_NaN());
    one[5] = 0.5;
    CHECK_FALSE(keep_slope(one).has_value());
}

TEST_CASE("the distance of kept sets is that of the two ends of a context, and 0 to itself",
          "[analyze][bias]") {
    const std::vector<char> early = {1, 0, 0, 0, 0}, late = {0, 0, 0, 0, 1}, none(5, 0), all(5, 1);
    CHECK(position_distance(early, late, all).value() == Approx(4.0 / 5.0));
    CHECK(position_distance(early, early, all).value() == 0.0);
    CHECK_FALSE(position_distance(early, none, all).has_value());
    CHECK_FALSE(position_distance(early, late, none).has_value());
}

TEST_CASE("scores that are all equal have no correlation, and those of rules do not count",
          "[analyze][bias]") {
    const std::vector<float> constant(6, 0.5f);
    CHECK_FALSE(position_correlation(constant).has_value());
    CHECK(tie_rate(constant).value() == 1.0);
    const std::vector<float> mixed = {by_rule, 1.0f, unscored, 2.0f, 2.0f, by_rule};
    CHECK(position_correlation(mixed).value() == Approx(std::sqrt(3.0) / 2.0));
    CHECK(tie_rate(mixed).value() == Approx(2.0 / 3.0));
    const std::vector<float> ruled(4, by_rule);
    CHECK_FALSE(tie_rate(ruled).has_value());
    CHECK_FALSE(position_correlation(ruled).has_value());
}

TEST_CASE("a random policy leans nowhere, and keeps a needle with the share that it keeps",
          "[analyze][bias]") {
    constexpr std::size_t tokens = 1000, keep = 150, needle = 20, draws = 2000;
    double recall = 0.0, correlation = 0.0, slope = 0.0;
    for (std::uint64_t stream = 0; stream < draws; ++stream) {
        const Philox random(5, stream);
        std::vector<float> scores;
        for (std::size_t t = 0; t < tokens; ++t)
            scores.push_back(static_cast<float>(random.uniform(t)));
        std::vector<char> kept(tokens, 0);
        for (const Position t : select_top(scores, keep)) {
            kept[static_cast<std::size_t>(t)] = 1;
            recall += t >= 400 && t < 400 + static_cast<Position>(needle) ? 1.0 / needle : 0.0;
        }
        correlation += position_correlation(scores).value();
        slope += keep_slope(keep_profile(kept, std::vector<char>(tokens, 1))).value();
    }
    // Hypergeometric: the recall of one draw has variance 0.15 * 0.85 / 20 * 980 / 999. Allowed are
    // four standard errors; rho has variance 1 / 999.
    const double error = std::sqrt(0.15 * 0.85 / needle * 980.0 / 999.0 / draws);
    CHECK(recall / draws == Approx(static_cast<double>(keep) / tokens).margin(4.0 * error));
    CHECK(correlation / draws == Approx(0.0).margin(4.0 / std::sqrt(999.0 * draws)));
    CHECK(slope / draws == Approx(0.0).margin(0.005));
}
