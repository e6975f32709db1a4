#include "policies/parts/lsh.hpp"

#include "core/json.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/twins/lsh.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

using namespace kvtape;

namespace {

constexpr int shapes = 1000;
/// What is closer in double precision than this may be decided otherwise in float32.
constexpr double float_margin = 1e-5;

constexpr std::array ranks{
    LshRank::magicpig_baseline, LshRank::frequency_rank, LshRank::mean_collision};
constexpr std::array ties{
    LshTie::l2, LshTie::max_sim, LshTie::mahalanobis, LshTie::partitioned_centroid, LshTie::none};

/// Candidates and a question of drawn sizes.
struct LshCase {
    Philox random;
    LshSettings settings;
    Matrix candidates, question, projection;
    Position count = 0;

    explicit LshCase(int number) : random(static_cast<std::uint64_t>(number), 31) {
        settings = {.bits = draw(0, 1, 6),
                    .tables = draw(1, 1, 12),
                    .rank = ranks[static_cast<std::size_t>(draw(2, 0, 2))],
                    .tie = ties[static_cast<std::size_t>(draw(3, 0, 4))]};
        const std::int32_t dim = draw(4, 1, 24);
        candidates = gaussian_matrix(draw(5, 1, 40), dim, random.with_stream(1));
        // Every other case has enough tokens for several centroids.
        question =
            gaussian_matrix(draw(6, 1, number % 2 == 0 ? 6 : 70), dim, random.with_stream(2));
        projection = gaussian_matrix(dim, settings.bits * settings.tables, random.with_stream(3));
        count = draw(7, 0, static_cast<std::int32_t>(candidates.rows()) + 2);
    }
    std::int32_t draw(std::uint64_t index, std::int32_t low, std::int32_t high) const {
        return low + static_cast<std::int32_t>(
                         random.below(index, static_cast<std::uint32_t>(high - low + 1)));
    }
    std::vector<Position> select() const {
        return lsh_select(view(candidates), view(question), view(projection), settings, count);
    }
    reference::Chosen twin() const {
        return reference::LshTwin(points(candidates), points(question), view(projection), settings)
            .select(static_cast<std::size_t>(count));
    }
    static reference::Points points(const Matrix& rows) {
        reference::Points all;
        for (Eigen::Index r = 0; r < rows.rows(); ++r)
            all.emplace_back(rows.row(r).begin(), rows.row(r).end());
        return all;
    }
};

}  // namespace

TEST_CASE("the random projections are those of the golden file", "[policies][laser_kv][golden]") {
    std::ifstream file(KVTAPE_SOURCE_DIR "/tests/golden/projection-D16-bits10-tables8-seed0.json");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const Json expected = parse_json(text, "projection");
    const Matrix matrix = gaussian_matrix(16, 80, Philox(0));
    REQUIRE(expected.size() == 16);
    int differing = 0;
    for (std::size_t row = 0; row < 16; ++row) {
        REQUIRE(expected[row].size() == 80);
        for (std::size_t column = 0; column < 80; ++column)
            differing +=
                matrix(static_cast<Eigen::Index>(row), static_cast<Eigen::Index>(column)) !=
                        expected[row][column].get<float>()
                    ? 1
                    : 0;
    }
    CHECK(differing == 0);
}

TEST_CASE("a matrix whose size is no multiple of four is the beginning of a larger one",
          "[policies][laser_kv]") {
    const Matrix large = gaussian_matrix(1, 64, Philox(3));
    for (const Eigen::Index size : {1, 2, 3, 5, 63})
        CHECK(gaussian_matrix(1, size, Philox(3)) == large.leftCols(size));
    CHECK(gaussian_matrix(1, 64, Philox(4)) != large);
}

TEST_CASE("meeting twice is the binomial tail, and ranks like the count of equal bits",
          "[policies][laser_kv]") {
    for (const auto& [bits, tables] : {std::pair{10, 8}, std::pair{6, 4}, std::pair{8, 100}}) {
        CHECK(reference::meets_twice(0.0, bits, tables) == 0.0);
        CHECK(reference::meets_twice(1.0, bits, tables) == 1.0);
        double before = 0.0;
        for (int equal = 1; equal <= bits * tables; ++equal) {
            const double p = static_cast<double>(equal) / (bits * tables);
            const double now = reference::meets_twice(p, bits, tables);
            double tail = 0.0, ways = 1.0;
            for (int met = 0; met <= tables; ++met) {
                const double one = std::pow(p, bits);
                if (met >= 2)
                    tail += ways * std::pow(one, met) * std::pow(1.0 - one, tables - met);
                ways *= static_cast<double>(tables - met) / (met + 1);
            }
            CHECK(now == Approx(tail).margin(1e-14));
            CHECK(now >= before - 1e-14);
            before = now;
        }
    }
    CHECK(reference::meets_twice(0.9, 10, 8) == Approx(0.829).epsilon(1e-3));
    CHECK(reference::meets_twice(0.7, 6, 4) == Approx(0.0706).epsilon(1e-2));
}

TEST_CASE("hashes choose what the description says, over 1,000 random shapes",
          "[policies][laser_kv][twin]") {
    int judged = 0;
    for (int number = 0; number < shapes; ++number) {
        const LshCase drawn(number);
        const reference::Chosen twin = drawn.twin();
        if (twin.margin < float_margin)
            continue;
        INFO("case " << number);
        CHECK(drawn.select() == std::vector<Position>(twin.indices.begin(), twin.indices.end()));
        ++judged;
    }
    CHECK(judged > 800);
}

TEST_CASE("hashes do not change when everything is moved or scaled", "[policies][laser_kv]") {
    int judged = 0;
    for (int number = 0; number < shapes; ++number) {
        LshCase drawn(number);
        if (drawn.twin().margin < 1e-3 || drawn.settings.tie == LshTie::mahalanobis)
            continue;
        INFO("case " << number);
        const std::vector<Position> before = drawn.select();
        drawn.candidates *= 8.0f;
        drawn.question *= 8.0f;
        CHECK(drawn.select() == before);
        drawn.candidates.array() += 3.0f;
        drawn.question.array() += 3.0f;
        CHECK(drawn.select() == before);
        ++judged;
    }
    CHECK(judged > 200);
}

TEST_CASE("without two shared tables the latest candidates are taken", "[policies][laser_kv]") {
    // One table: no candidate can share two.
    const LshSettings settings{.bits = 4, .tables = 1};
    const Matrix candidates = gaussian_matrix(9, 5, Philox(1));
    const Matrix projection = gaussian_matrix(5, 4, Philox(2));
    CHECK(lsh_select(view(candidates), view(candidates), view(projection), settings, 3) ==
          std::vector<Position>{6, 7, 8});
}
