#include "core/rotation.hpp"

#include "core/philox.hpp"
#include "core/query_moments.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/twins/queries.hpp"

#include <numbers>
#include <numeric>

using namespace kvtape;

namespace {

std::vector<float> random_rows(std::size_t count, std::uint64_t stream, double shift) {
    std::vector<float> rows(count);
    for (std::size_t i = 0; i < count; ++i)
        rows[i] = static_cast<float>(shift + 2.0 * Philox(4, stream).uniform(i) - 1.0);
    return rows;
}

}  // namespace

TEST_CASE("the turn of a pair is the sine and cosine of position times frequency",
          "[core][rotation]") {
    const Philox random(17);
    Rotation rotation{.rotary_dim = 2, .inv_freq = {0.0}};
    for (std::uint64_t i = 0; i < 100000; ++i) {
        const double position =
            std::floor(std::ldexp(random.uniform(2 * i), 1 + static_cast<int>(i % 21)));
        rotation.inv_freq[0] = std::ldexp(random.uniform(2 * i + 1), -static_cast<int>(i % 17));
        const double angle = position * rotation.inv_freq[0];
        // Position times frequency is rounded in both, and each of the functions adds its own.
        const double allowed = 5e-16 * (1.0 + angle);
        const auto [sine, cosine] = rotation.turn(position, 0);
        CHECK(std::abs(sine - std::sin(angle)) < allowed);
        CHECK(std::abs(cosine - std::cos(angle)) < allowed);
    }
    rotation.inv_freq[0] = 0.3;
    CHECK(rotation.turn(0.0, 0).sine == 0.0);
    CHECK(rotation.turn(0.0, 0).cosine == 1.0);
}

TEST_CASE("undoing a turn gives back what was there before, in both layouts", "[core][rotation]") {
    for (const bool interleaved : {false, true}) {
        const Rotation rotation{
            .rotary_dim = 6, .interleaved = interleaved, .inv_freq = {1.0, 0.2, 0.01}};
        const std::vector<Position> positions{0, 5, 30000};
        const std::vector<double> before{0.1, -0.5, 0.9, 0.3, -0.2, 0.7, 2.0, -3.0};
        const Turns turns(rotation, positions);
        for (std::size_t i = 0; i < positions.size(); ++i) {
            const auto after = reference::turned(before, rotation, positions[i], 1.0);
            const std::vector<float> rounded(after.begin(), after.end());
            std::vector<double> undone(before.size());
            turns.undo(i, rounded, undone);
            for (std::size_t c = 0; c < before.size(); ++c)
                CHECK(undone[c] == Approx(before[c]).margin(1e-6));
        }
    }
}

TEST_CASE("mean and covariance agree with their definition, however the rows were cut",
          "[core][rotation]") {
    for (const Eigen::Index dim : {1, 2, 7, 16}) {
        const Rotation rotation{
            .rotary_dim = dim >= 4 ? 4 : 0,
            .inv_freq = dim >= 4 ? std::vector<double>{0.7, 0.03} : std::vector<double>{}};
        std::vector<Position> positions(53);
        std::iota(positions.begin(), positions.end(), 4);
        const auto rows = random_rows(
            positions.size() * static_cast<std::size_t>(dim), static_cast<std::uint64_t>(dim), 3.0);
        const auto expected =
            reference::query_distribution(rows, positions, 0, 1, dim, {0, 1000}, rotation);
        QueryMoments whole(static_cast<std::int32_t>(dim)), cut(static_cast<std::int32_t>(dim));
        whole.add(Turns(rotation, positions), view(rows.data(), 53, dim));
        for (const auto& [begin, count] : {std::pair{0, 1}, {1, 19}, {20, 33}})
            cut.add(Turns(rotation,
                          std::span(positions).subspan(static_cast<std::size_t>(begin),
                                                       static_cast<std::size_t>(count))),
                    view(rows.data() + begin * dim, count, dim));
        CHECK(whole.count() == 53);
        CHECK(cut.mean() == whole.mean());
        CHECK(cut.covariance() == whole.covariance());
        const auto mean = whole.mean(), covariance = whole.covariance();
        for (std::size_t i = 0; i < mean.size(); ++i)
            CHECK(mean[i] == Approx(expected.mean[i]).margin(1e-6));
        for (std::size_t i = 0; i < covariance.size(); ++i)
            CHECK(covariance[i] == Approx(expected.covariance[i]).margin(1e-6));
    }
}
