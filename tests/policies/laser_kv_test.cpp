#include "core/error.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/laser_budget.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr int shapes = 1000;

LaserBudget budget_of(LaserMode mode,
                      const std::string& budget,
                      Position context,
                      Position block,
                      std::int32_t divisor = 4) {
    return laser_budget(mode, limit_of(budget, context, Shape{}), context, block, divisor);
}

}  // namespace

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
