#include "policies/parts/budget.hpp"
#include "policies/parts/pooling.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 1,
                      .query_heads = 4,
                      .kv_heads = 2,
                      .head_dim = 16,
                      .hidden_size = 64,
                      .softmax_scale = 0.25};

Decision decide(std::string_view spec, const Layer& layer, Position tokens) {
    return testing::decide(*make_policy(spec).policy, {&layer, 1}, {tokens, std::nullopt});
}

std::vector<Position> keep(std::string_view spec,
                           const Layer& layer,
                           Position tokens,
                           std::int32_t head) {
    const Decision decision = decide(spec, layer, tokens);
    return decision[{0, head}];
}

std::vector<Position> interval(Position begin, Position end) {
    std::vector<Position> positions(static_cast<std::size_t>(std::max(0, end - begin)));
    std::iota(positions.begin(), positions.end(), begin);
    return positions;
}

std::vector<Position> joined(std::vector<Position> a, const std::vector<Position>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

std::int64_t common(const std::vector<Position>& a, const std::vector<Position>& b) {
    std::vector<Position> both;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
    return std::ssize(both);
}

}  // namespace

TEST_CASE("streaming_llm keeps the sinks and the latest tokens, or sinks alone",
          "[policies][streaming_llm]") {
    const Layer layer = random_layer(shape, 0, 100, 102, Philox(1));
    for (Position tokens = 1; tokens <= 100; ++tokens) {
        const Position first = std::min(4, tokens);
        CHECK(keep("streaming_llm", layer, tokens, 1) ==
              joined(interval(0, first), interval(100 - (tokens - first), 100)));
    }
    CHECK(keep("streaming_llm:sinks=0", layer, 7, 0) == interval(93, 100));
}

TEST_CASE("full keeps everything whatever the budget", "[policies][full]") {
    const Layer layer = random_layer(shape, 0, 50, 52, Philox(1));
    CHECK(keep("full", layer, 1, 0) == interval(0, 50));
}

TEST_CASE("random keeps any token with the probability of the budget, each head its own",
          "[policies][random]") {
    const Layer layer = random_layer(shape, 0, 400, 401, Philox(1));
    const PolicyRun run = make_policy("random");
    const std::vector<Position> needle = interval(120, 160);
    std::int64_t kept = 0;
    constexpr std::uint64_t sequences = 500;
    for (std::uint64_t i = 0; i < sequences; ++i) {
        const Decision decision =
            testing::decide(*run.policy, {&layer, 1}, {100, {}}, {.random = Philox(7, i)});
        kept += common(decision[{0, 0}], needle);
    }
    // mean of 20,000 draws at 0.25: five standard errors are below 0.016
    CHECK(static_cast<double>(kept) / (40.0 * sequences) == Approx(0.25).margin(0.016));

    const Decision decision = testing::decide(*run.policy, {&layer, 1}, {100, {}});
    CHECK(decision[{0, 0}] != decision[{0, 1}]);
    CHECK(testing::decide(*run.policy, {&layer, 1}, {100, {}}) == decision);
    CHECK(testing::decide(*run.policy, {&layer, 1}, {100, {}}, {.random = Philox(1)}) != decision);
}

TEST_CASE("knorm does not see rotations of the keys", "[policies][knorm]") {
    const Layer layer = random_layer(shape, 0, 200, 201, Philox(3));
    Layer rotated = layer;
    // a quarter turn of every channel pair is exact in floating point
    for (std::size_t i = 0; i < rotated.data.keys.size(); i += 2) {
        rotated.data.keys[i] = -layer.data.keys[i + 1];
        rotated.data.keys[i + 1] = layer.data.keys[i];
    }
    // pairs (0, 1) swap lanes of the sum, so its last bit may move; the set does not
    CHECK(decide("knorm", layer, 40) == decide("knorm", rotated, 40));
}

TEST_CASE("the keys of equal tokens tie, and the earlier one stays", "[policies][ties]") {
    Layer layer = random_layer(shape, 0, 60, 61, Philox(4));
    for (Position head = 0; head < 2; ++head)
        for (Position token = 1; token < 61; ++token)
            std::copy_n(layer.data.keys.begin() + head * 61 * 16,
                        16,
                        layer.data.keys.begin() + (head * 61 + token) * 16);
    fill_statistics(layer);
    CHECK(keep("knorm", layer, 10, 1) == interval(0, 10));
    CHECK(keep("oracle", layer, 10, 1) == interval(0, 10));
    CHECK(keep("tova", layer, 10, 0) == joined(interval(0, 9), {59}));
    CHECK(keep("snapkv:window=4,kernel=1", layer, 10, 0) ==
          joined(interval(0, 6), interval(56, 60)));
}

TEST_CASE("oracle keeps more future attention than any other policy", "[policies][oracle]") {
    const Layer layer = random_layer(shape, 0, 120, 150, Philox(5));
    const PolicyRun run = make_policy("oracle");
    const auto session = observed_session(*run.policy, {&layer, 1});
    const auto mass = [&](const Decision& decision, HeadId id) {
        const std::vector<float> scores = session->scores(id, {1, std::nullopt});
        double sum = 0.0;
        for (const Position position : decision[id])
            sum += static_cast<double>(scores[static_cast<std::size_t>(position)]);
        return sum;
    };
    const Decision best = decide("oracle", layer, 30);
    for (const char* other :
         {"random", "streaming_llm", "knorm", "tova", "h2o", "snapkv:window=8"}) {
        INFO(other);
        const Decision decision = decide(other, layer, 30);
        for (std::int32_t head = 0; head < 2; ++head)
            CHECK(mass(best, {0, head}) >= mass(decision, {0, head}));
    }
}

TEST_CASE("h2o scores sum to the number of queries seen", "[policies][h2o]") {
    const Layer layer = random_layer(shape, 0, 90, 95, Philox(6));
    const PolicyRun run = make_policy("h2o");
    const auto session = observed_session(*run.policy, {&layer, 1});
    double sum = 0.0;
    // a budget of one keeps no token by rule, so every score shows
    for (const float score : session->scores({0, 0}, {1, std::nullopt}))
        sum += static_cast<double>(score);
    CHECK(sum == Approx(90.0 * shape.group()).epsilon(1e-5));
}

TEST_CASE("snapkv keeps the window, and the latest tokens when the budget is smaller",
          "[policies][snapkv]") {
    const Layer layer = random_layer(shape, 0, 100, 101, Philox(8));
    for (const Position tokens : {1, 15, 16})
        CHECK(keep("snapkv:window=16", layer, tokens, 0) == interval(100 - tokens, 100));
    const auto kept = keep("snapkv:window=16", layer, 40, 0);
    CHECK(common(kept, interval(84, 100)) == 16);
    CHECK(keep("snapkv:window=200", layer, 100, 0) == interval(0, 100));
}

TEST_CASE("averaging over neighbours and over the group commute, the largest does not",
          "[policies][snapkv]") {
    const Layer layer = random_layer(shape, 0, 300, 301, Philox(9));
    const auto at = [&](const std::string& rest) {
        return decide("snapkv:window=16,kernel=7," + rest, layer, 80);
    };
    CHECK(at("pool=avg,group=after") == at("pool=avg,group=before"));
    CHECK(at("pool=max,group=after") != at("pool=max,group=before"));
}

TEST_CASE("pooling counts missing neighbours as zeros in an average and ignores them in a maximum",
          "[policies][pooling]") {
    const std::vector<float> scores{1.0f, 2.0f, 6.0f, 0.0f};
    CHECK(pooled(scores, Pool::avg, 3) == std::vector<float>{1.0f, 3.0f, 8.0f / 3.0f, 2.0f});
    CHECK(pooled(scores, Pool::max, 3) == std::vector<float>{2.0f, 6.0f, 6.0f, 6.0f});
    CHECK(pooled(scores, Pool::avg, 1) == scores);
    CHECK(pooled(scores, Pool::max, 9) == std::vector<float>(4, 6.0f));
    CHECK(pooled({}, Pool::max, 5).empty());
}

TEST_CASE("the arithmetic of kvpress loses a token where doubles do", "[policies][budget]") {
    const auto kvpress = [](std::int64_t numerator, std::int64_t denominator, Position held) {
        return kvpress_tokens({0, Ratio{numerator, denominator}}, held);
    };
    // 1 - 0.9 is a little below 0.1, and 1 - 0.8 below 0.2
    CHECK(kvpress(1, 10, 1000) == 99);
    CHECK(kvpress(1, 5, 1000) == 199);
    CHECK(kvpress(1, 4, 1000) == 250);
    CHECK(kvpress(1, 1, 1000) == 1000);
    CHECK(kvpress(1, 1000, 10) == 1);
    CHECK(kvpress_tokens({12, std::nullopt}, 1000) == 12);
    CHECK(kvpress_tokens({12, std::nullopt}, 7) == 7);
}

TEST_CASE("under another source the question votes and the protected window stays",
          "[policies][source]") {
    Layer layer = random_layer(shape, 0, 80, 82, Philox(10));
    // both question rows of every query head look along the key of token 33 of their KV head
    for (std::int32_t head = 0; head < 4; ++head)
        for (Position row = 80; row < 82; ++row)
            for (Position channel = 0; channel < 16; ++channel)
                layer.data.queries[static_cast<std::size_t>((head * 82 + row) * 16 + channel)] =
                    4.0f *
                    layer.data.keys[static_cast<std::size_t>((head / 2 * 82 + 33) * 16 + channel)];
    fill_statistics(layer);
    for (const char* spec : {"snapkv:window=8,kernel=1", "tova", "h2o"}) {
        INFO(spec);
        const PolicyRun run = make_policy(spec);
        const Decision decision =
            testing::decide(*run.policy, {&layer, 1}, {16, {}}, {.source = QuerySource::question});
        const Position window = spec[0] == 't' ? 1 : 8;
        for (std::int32_t head = 0; head < 2; ++head) {
            const auto& kept = decision[{0, head}];
            CHECK(common(kept, interval(80 - window, 80)) == window);
            if (spec[0] == 's')
                CHECK(std::binary_search(kept.begin(), kept.end(), 33));
        }
    }
}
