#include "core/error.hpp"
#include "core/topk.hpp"
#include "policies/parts/lag.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 1,
                      .query_heads = 2,
                      .kv_heads = 2,
                      .head_dim = 20,
                      .hidden_size = 40,
                      .softmax_scale = 0.2};
constexpr Position lag = 16, sinks = 5;

std::string spec(const std::string& rest = "") {
    return "lagkv:lag=16,sinks=5" + rest;
}

Limit ratio(std::int64_t numerator, std::int64_t denominator) {
    return {1, Ratio{numerator, denominator}};
}

Decision decide(const Layer& layer, const Limit& limit, const std::string& rest = "") {
    return testing::decide(*make_policy(spec(rest)).policy, {&layer, 1}, limit);
}

std::vector<Position> keep(std::int32_t head,
                           const Layer& layer,
                           const Limit& limit,
                           const std::string& rest = "") {
    const Decision decision = decide(layer, limit, rest);
    return decision[{0, head}];
}

Layer layer_of(Position context, std::uint64_t seed) {
    return random_layer(shape, 0, context, context + 1, Philox(seed));
}

float& key(Layer& layer, Position head, Position token, Position channel) {
    return layer.data
        .keys[static_cast<std::size_t>((head * layer.length + token) * shape.head_dim + channel)];
}
float& value(Layer& layer, Position head, Position token, Position channel) {
    return layer.data
        .values[static_cast<std::size_t>((head * layer.length + token) * shape.head_dim + channel)];
}

}  // namespace

TEST_CASE("the length after one cut is the published formula", "[policies][lagkv]") {
    for (Position context = 1; context < 120; ++context) {
        const Layer layer = layer_of(context, 1);
        for (const auto& [numerator, kept] : {std::pair{1, 4}, std::pair{0, 0}, std::pair{4, 16}}) {
            const Decision decision = decide(layer, ratio(numerator, 4));
            Position expected = context;
            if (context >= sinks + 2 * lag)
                expected =
                    sinks + kept * ((context - sinks) / lag - 1) + lag + (context - sinks) % lag;
            INFO("context " << context << ", ratio " << numerator << "/4");
            CHECK(std::ssize(decision[{0, 0}]) == expected);
        }
    }
}

TEST_CASE("the kept share of a partition is exact", "[policies][lagkv]") {
    const Layer layer = layer_of(5 + 3 * 16, 2);
    // 29 % of 100 tokens is 29, though 0.29 * 100 is less in doubles
    CHECK(Ratio{29, 100}.floor_of(100) == 29);
    CHECK(std::ssize(keep(0, layer, ratio(1, 3))) == 5 + 2 * 5 + 16);
    CHECK(std::ssize(keep(0, layer, ratio(1, 17))) == 5 + 16);
}

TEST_CASE("a token budget keeps the most that fits in every partition", "[policies][lagkv]") {
    const Layer layer = layer_of(5 + 4 * 16 + 3, 3);
    const Position always = 5 + 16 + 3;
    for (Position tokens = 1; tokens <= 72; ++tokens) {
        const auto kept = std::ssize(keep(1, layer, {tokens, std::nullopt}));
        INFO(tokens << " tokens");
        CHECK(kept == always + std::clamp(3 * ((tokens - always) / 3), 0, 48));
    }
}

TEST_CASE("sinks and the sliding window are never touched", "[policies][lagkv]") {
    const Layer layer = layer_of(5 + 4 * 16 + 7, 4);
    const Decision decision = decide(layer, ratio(1, 8));
    for (std::int32_t head = 0; head < 2; ++head) {
        const auto& keep = decision[{0, head}];
        for (Position position = 0; position < layer.context_len; ++position)
            if (position < 5 || position >= 5 + 3 * 16)
                CHECK(std::binary_search(keep.begin(), keep.end(), position));
    }
}

TEST_CASE("scaling and shifting a channel changes nothing", "[policies][lagkv]") {
    const Layer layer = layer_of(150, 5);
    Layer moved = layer;
    for (Position head = 0; head < 2; ++head)
        for (Position token = 0; token < moved.length; ++token)
            for (Position channel = 0; channel < shape.head_dim; ++channel) {
                float& x = key(moved, head, token, channel);
                x = x * (0.25f + static_cast<float>(channel)) + static_cast<float>(channel % 3);
            }
    CHECK(decide(layer, ratio(1, 4)) == decide(moved, ratio(1, 4)));
}

TEST_CASE("the order of channels, and of tokens in the reference, does not matter",
          "[policies][lagkv]") {
    const Layer layer = layer_of(5 + 2 * 16, 6);
    Layer moved = layer;
    for (Position head = 0; head < 2; ++head)
        for (Position token = 0; token < layer.length; ++token)
            for (Position channel = 0; channel < shape.head_dim; ++channel) {
                // the second partition is the reference of the first: turn it around
                const Position to = token >= 21 && token < 37 ? 57 - token : token;
                key(moved, head, to, 19 - channel) =
                    key(const_cast<Layer&>(layer), head, token, channel);
                value(moved, head, to, 19 - channel) =
                    value(const_cast<Layer&>(layer), head, token, channel);
            }
    CHECK(decide(layer, ratio(1, 4)) == decide(moved, ratio(1, 4)));
}

TEST_CASE("an outlier in keys and values stays", "[policies][lagkv]") {
    Layer layer = layer_of(150, 7);
    for (Position channel = 0; channel < shape.head_dim; ++channel) {
        key(layer, 1, 30, channel) = channel % 2 == 0 ? 80.0f : -80.0f;
        value(layer, 1, 30, channel) = channel % 2 == 0 ? -60.0f : 60.0f;
    }
    const auto kept = keep(1, layer, ratio(1, 16));
    CHECK(std::binary_search(kept.begin(), kept.end(), 30));
}

TEST_CASE("constant channels count for nothing and make no NaN", "[policies][lagkv]") {
    Layer layer = layer_of(5 + 9 * 16 + 1, 8);
    for (Position token = 0; token < layer.length; ++token)
        for (Position channel = 0; channel < shape.head_dim; ++channel)
            key(layer, 0, token, channel) = 0.1f;
    const PolicyRun run = make_policy(spec());
    const auto session = observed_session(*run.policy, {&layer, 1});
    for (const float score : session->scores({0, 0}, ratio(1, 4)))
        CHECK_FALSE(std::isnan(score));
    CHECK(std::ssize(keep(0, layer, ratio(1, 4))) == 5 + 8 * 4 + 16 + 1);
}

TEST_CASE("skipped layers keep everything", "[policies][lagkv]") {
    Shape two = shape;
    two.layers = 2;
    const std::vector<Layer> layers = {random_layer(two, 0, 100, 101, Philox(9)),
                                       random_layer(two, 1, 100, 101, Philox(9))};
    const PolicyRun run = make_policy(spec(",skip=1"));
    const Decision decision = testing::decide(*run.policy, layers, ratio(1, 4));
    CHECK(decision[{0, 0}].size() < 100);
    CHECK(decision[{1, 0}].size() == 100);
    CHECK(decision[{1, 1}].size() == 100);
}

TEST_CASE("the form of kvpress keeps sinks and the latest tokens when the budget holds no more",
          "[policies][lagkv]") {
    const Layer layer = layer_of(100, 10);
    const auto at = [&](Position tokens) {
        return keep(0, layer, {tokens, std::nullopt}, ",compat=kvpress");
    };
    CHECK(at(3) == std::vector<Position>{0, 1, 2});
    CHECK(at(7) == std::vector<Position>{0, 1, 2, 3, 4, 98, 99});
    // 5 sinks and the 31 tokens from 69 on are protected: the last partition and the rest
    const std::vector<Position> all = at(36);
    CHECK(all.front() == 0);
    CHECK(all[5] == 69);
    const std::vector<Position> more = at(48);
    CHECK(more.size() == 48);
    CHECK(std::includes(more.begin(), more.end(), all.begin(), all.end()));
}

TEST_CASE("the form of kvpress takes the same share of every partition, unless they compete",
          "[policies][lagkv]") {
    const Layer layer = layer_of(5 + 5 * 16, 11);
    const auto per_partition = [&](const std::string& rest) {
        const Decision decision = decide(layer, {5 + 16 + 24, std::nullopt}, rest);
        std::vector<std::ptrdiff_t> counts(4);
        for (const Position position : decision[{0, 0}])
            if (position >= 5 && position < 69)
                ++counts[static_cast<std::size_t>((position - 5) / 16)];
        return counts;
    };
    CHECK(per_partition(",compat=kvpress") == std::vector<std::ptrdiff_t>{6, 6, 6, 6});
    CHECK(per_partition(",compat=kvpress,cross=1") != std::vector<std::ptrdiff_t>{6, 6, 6, 6});
}

TEST_CASE("feeding a sequence at once or token by token leaves the same cache",
          "[policies][lagkv]") {
    const Layer layer = layer_of(140, 12);
    const PolicyRun run = make_policy(spec());
    const Decision at_once = decide(layer, ratio(1, 4));

    const SessionContext context{.shape = shape, .context_len = 140, .prompt_len = 140};
    const auto session = run.policy->start(context);
    std::vector<std::vector<Position>> held(2);
    for (Position position = 0; position < 140; ++position) {
        std::vector<std::vector<float>> keys(2), values(2);
        std::vector<HeadView> views;
        for (std::int32_t head = 0; head < 2; ++head) {
            const auto at = static_cast<std::size_t>(head);
            held[at].push_back(position);
            for (const Position token : held[at])
                for (Position channel = 0; channel < shape.head_dim; ++channel) {
                    keys[at].push_back(key(const_cast<Layer&>(layer), head, token, channel));
                    values[at].push_back(value(const_cast<Layer&>(layer), head, token, channel));
                }
            const auto count = std::ssize(held[at]);
            const MatrixView none = view(nullptr, 0, 0);
            views.push_back({{0, head},
                             held[at],
                             view(keys[at].data(), count, shape.head_dim),
                             view(values[at].data(), count, shape.head_dim),
                             {{}, none, {}},
                             none});
        }
        const Block block{position, position + 1, true};
        session->observe({0, block, views});
        const Decision decision = session->decide(block, ratio(1, 4));
        session->settle(decision);
        for (std::int32_t head = 0; head < 2; ++head)
            held[static_cast<std::size_t>(head)] = decision[{0, head}];
    }
    CHECK(held[0] == at_once[{0, 0}]);
    CHECK(held[1] == at_once[{0, 1}]);
}

TEST_CASE("a partition length beyond the context leaves it alone", "[policies][lagkv]") {
    CHECK(lag_layout(100, 16, 1 << 20).partitions == 0);
    CHECK(lag_layout(2147483647, 0, 1073741824).partitions == 0);
    CHECK(lag_layout(10, 16, 4).window == 0);
    const LagLayout layout = lag_layout(100, 16, 20);
    CHECK(layout.partitions == 3);
    CHECK(layout.window == 24);
}

TEST_CASE("l2kv keeps the shortest keys of every partition and leaves two layers alone",
          "[policies][lagkv]") {
    const Shape three{.layers = 3,
                      .query_heads = 1,
                      .kv_heads = 1,
                      .head_dim = 8,
                      .hidden_size = 8,
                      .softmax_scale = 0.3};
    std::vector<Layer> layers;
    for (std::int32_t number = 0; number < 3; ++number)
        layers.push_back(random_layer(three, number, 40, 41, Philox(6)));
    const PolicyRun run = make_policy("lagkv:score=l2,lag=10,sinks=0");
    CHECK_FALSE(run.policy->needs().values);
    const Decision decision = testing::decide(*run.policy, layers, {20, Ratio{1, 2}});
    CHECK(decision[{0, 0}].size() == 40);
    CHECK(decision[{1, 0}].size() == 40);
    std::vector<Position> expected;
    for (Position begin = 0; begin < 30; begin += 10) {
        std::vector<float> scores;
        for (Position t = begin; t < begin + 10; ++t) {
            const float* key = layers[2].data.keys.data() + t * 8;
            scores.push_back(static_cast<float>(-std::sqrt(reference::dot(key, key, 8))));
        }
        for (const Position best : select_top(scores, 5))
            expected.push_back(begin + best);
    }
    for (Position t = 30; t < 40; ++t)
        expected.push_back(t);
    CHECK(decision[{2, 0}] == expected);
}
