#include "tests/support/twins/laser_kv.hpp"

#include "core/error.hpp"
#include "core/exp.hpp"
#include "core/json.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/laser_budget.hpp"
#include "policies/parts/lsh.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <tuple>

using namespace kvtape;
using namespace kvtape::testing;

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

LaserBudget budget_of(LaserMode mode,
                      const std::string& budget,
                      Position context,
                      Position block,
                      std::int32_t divisor = 4) {
    return laser_budget(mode, limit_of(budget, context, Shape{}), context, block, divisor);
}

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

TEST_CASE("sine and cosine of a turn are right to 2^-51", "[core][exp]") {
    double worst = 0.0;
    for (int i = 0; i <= 40000; ++i) {
        const double turns = i / 40000.0;
        const auto [sine, cosine] = sine_cosine(turns);
        const long double angle = 2.0L * 3.14159265358979323846264338327950288L * turns;
        worst = std::max({worst,
                          std::abs(static_cast<double>(sine - std::sin(angle))),
                          std::abs(static_cast<double>(cosine - std::cos(angle)))});
    }
    CHECK(worst < 0x1p-51);
    CHECK(sine_cosine(0.25).sine == 1.0);
    CHECK(sine_cosine(0.5).cosine == -1.0);
}

TEST_CASE("block budgets are the worked values of the paper's settings", "[policies][laser_kv]") {
    struct Worked {
        Position context;
        const char* ratio;
        std::int64_t block_budget, anchors, picks, attended, blocks, final;
    };
    for (const Worked& worked : {Worked{16000, "0.25", 1630, 407, 816, 612, 4, 4078},
                                 Worked{64000, "0.125", 962, 240, 482, 361, 16, 8192},
                                 Worked{128000, "0.125", 992, 248, 496, 372, 32, 16368}}) {
        const LaserBudget budget =
            budget_of(LaserMode::accumulate, worked.ratio, worked.context, 4096);
        CHECK(budget.block_budget == worked.block_budget);
        CHECK(budget.anchors == worked.anchors);
        CHECK(budget.window == worked.anchors);
        CHECK(budget.picks == worked.picks);
        CHECK(Ratio{3, 4}.floor_of(budget.picks) == worked.attended);
        CHECK((worked.context + 4095) / 4096 == worked.blocks);
        CHECK(budget.anchors + worked.blocks * budget.picks + budget.window == worked.final);
    }
    CHECK(budget_of(LaserMode::recursive, "0.1", 1001, 200).block_budget == 100);
}

TEST_CASE("for any divisor anchors, window and picks add up to the ratio", "[policies][laser_kv]") {
    for (const std::int32_t divisor : {3, 4, 5, 8, 100})
        for (const Position blocks : {1, 2, 7, 32}) {
            const Position context = blocks * 4096;
            const LaserBudget budget =
                budget_of(LaserMode::accumulate, "0.25", context, 4096, divisor);
            const double total = static_cast<double>(budget.anchors + budget.window) +
                                 static_cast<double>(blocks) * static_cast<double>(budget.picks);
            INFO("divisor " << divisor << ", " << blocks << " blocks");
            // Rounding gives up to three tokens of a block to or from the picks.
            CHECK(std::abs(total - 0.25 * context) <= 3.0 * blocks);
        }
}

TEST_CASE("block budgets are exact where doubles are not, and tokens are a ratio of the context",
          "[policies][laser_kv]") {
    // 0.29 * 100 is 28.999999999999996 in doubles.
    CHECK(budget_of(LaserMode::recursive, "0.29", 100, 10).block_budget == 29);
    for (const LaserMode mode : {LaserMode::accumulate, LaserMode::recursive})
        CHECK(budget_of(mode, "250t", 1000, 128).block_budget ==
              budget_of(mode, "0.25", 1000, 128).block_budget);
    const Limit large{.tokens = 1, .ratio = Ratio{999999999999999, 1000000000000000}};
    CHECK(laser_budget(LaserMode::accumulate, large, 1 << 30, 1 << 24, 1024).block_budget > 0);
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
    for (int number = 0; number < 300; ++number) {
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
    CHECK(judged > 50);
}

TEST_CASE("without two shared tables the latest candidates are taken", "[policies][laser_kv]") {
    // One table: no candidate can share two.
    const LshSettings settings{.bits = 4, .tables = 1};
    const Matrix candidates = gaussian_matrix(9, 5, Philox(1));
    const Matrix projection = gaussian_matrix(5, 4, Philox(2));
    CHECK(lsh_select(view(candidates), view(candidates), view(projection), settings, 3) ==
          std::vector<Position>{6, 7, 8});
}

TEST_CASE("rows of the question give every one of their tokens to what they see",
          "[policies][laser_kv][twin]") {
    for (int number = 0; number < shapes; ++number) {
        const Philox random(static_cast<std::uint64_t>(number), 5);
        const auto draw = [&](std::uint64_t index, std::uint32_t low, std::uint32_t high) {
            return static_cast<std::int32_t>(low + random.below(index, high - low + 1));
        };
        Shape shape{.layers = 1, .kv_heads = 1, .head_dim = draw(0, 1, 12)};
        shape.query_heads = draw(1, 1, 3);
        shape.softmax_scale = 0.5;
        const Position context = draw(2, 1, 20), asked = draw(3, 1, 5);
        const Layer layer = random_layer(shape, 0, context, context + asked, random);
        ContextViews views(layer, {.keys = true, .probes = true}, QuerySource::agnostic);
        const Matrix sums = observed_attention(views.heads()[0], shape);
        REQUIRE(sums.cols() == context + asked);
        REQUIRE(sums.rows() == shape.query_heads);
        INFO("case " << number);
        CHECK(static_cast<double>(sums.sum()) == Approx(shape.query_heads * asked));
        double worst = 0.0;
        for (std::int64_t head = 0; head < shape.query_heads; ++head) {
            std::vector<double> expected(static_cast<std::size_t>(context + asked));
            for (Position q = context; q < context + asked; ++q) {
                std::vector<double> logits;
                for (Position key = 0; key <= q; ++key)
                    logits.push_back(
                        0.5 *
                        reference::dot(
                            layer.data.queries.data() + (head * layer.length + q) * shape.head_dim,
                            layer.data.keys.data() + std::int64_t{key} * shape.head_dim,
                            shape.head_dim));
                const std::vector<double> row = reference::softmax(logits);
                for (std::size_t key = 0; key < row.size(); ++key)
                    expected[key] += row[key];
            }
            for (std::size_t key = 0; key < expected.size(); ++key)
                worst = std::max(
                    worst,
                    std::abs(static_cast<double>(sums(head, static_cast<Eigen::Index>(key))) -
                             expected[key]));
        }
        CHECK(worst < 2e-5);
    }
}

TEST_CASE("parameters of laser_kv outside of their range are refused in one line",
          "[policies][laser_kv][errors]") {
    for (const char* wrong : {"divisor=1",
                              "divisor=0",
                              "alpha=1.5",
                              "alpha=-0.1",
                              "alpha=x",
                              "alpha=.",
                              "alpha=0.1234567890123456",
                              "bits=0",
                              "bits=31",
                              "tables=0",
                              "block=0",
                              "mode=both",
                              "selector=none",
                              "lsh=magicpig",
                              "tie=cosine",
                              "short_block=1"}) {
        INFO(wrong);
        try {
            make_policy(std::string("laser_kv:") + wrong);
            FAIL("was not refused");
        } catch (const Error& error) {
            const std::string text = error.what();
            CHECK(error.kind() == ErrorKind::usage);
            CHECK(text.find("policy laser_kv") != std::string::npos);
            CHECK(text.find('\n') == std::string::npos);
        }
    }
    CHECK(make_policy("laser_kv:alpha=.5").policy->parameters().at("alpha") == 0.5);
    CHECK(make_policy("laser_kv:alpha=1").policy->parameters().at("alpha") == 1.0);
    CHECK(make_policy("laser_kv:alpha=0.000").policy->parameters().at("alpha") == 0.0);
}

TEST_CASE("keys that are not finite are refused with their place", "[policies][laser_kv][errors]") {
    const Shape shape{.layers = 1,
                      .query_heads = 2,
                      .kv_heads = 2,
                      .head_dim = 4,
                      .hidden_size = 8,
                      .softmax_scale = 0.5};
    for (const char* spec : {"laser_kv", "laser_kv:selector=lsh"})
        for (const Position spoiled : {3, 11}) {
            std::vector<Layer> layers = {random_layer(shape, 0, 10, 12, Philox(1))};
            layers[0].data.keys[static_cast<std::size_t>(12 + spoiled) * 4] = NAN;
            try {
                decide(*make_policy(spec).policy, layers, {.tokens = 5, .ratio = {}});
                FAIL("was not refused");
            } catch (const Error& error) {
                const std::string text = error.what();
                INFO(text);
                CHECK(error.kind() == ErrorKind::format);
                CHECK(text.find("KV head 1") != std::string::npos);
                CHECK(text.find("keys") != std::string::npos);
                CHECK(text.find(std::to_string(spoiled)) != std::string::npos);
            }
        }
}
