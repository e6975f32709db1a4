#include "core/error.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <algorithm>
#include <cmath>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr int shapes = 1000;

/// One KV head of random keys, turned to the positions of their tokens.
struct Turned {
    explicit Turned(int number) : random(static_cast<std::uint64_t>(number)) {
        shape.head_dim = 2 * draw(0, 1, 8);
        layer = random_layer(
            shape, 0, draw(1, 2, 60), 61, Philox(static_cast<std::uint64_t>(number) + 5000));
        layer.rotation = {};
        layer.rotation.rotary_dim = 2 * draw(2, 1, shape.head_dim / 2);
        layer.rotation.interleaved = draw(3, 0, 1) == 1;
        for (std::int32_t i = 0; i < layer.rotation.rotary_dim / 2; ++i)
            layer.rotation.inv_freq.push_back(
                std::pow(50.0, -static_cast<double>(i) / shape.head_dim));
        budget = draw(4, 1, layer.context_len);
    }
    std::int32_t draw(std::uint64_t index, std::int32_t low, std::int32_t high) const {
        return low + static_cast<std::int32_t>(random.uniform(index) * (high - low + 1));
    }
    std::vector<float> key(Position position) const {
        const auto first = layer.data.keys.begin() + position * shape.head_dim;
        return {first, first + shape.head_dim};
    }
    /// `vector` turned from one position to another, in double.
    std::vector<double> turned(const std::vector<float>& vector, double from, double to) const {
        const Rotation& rotation = layer.rotation;
        std::vector<double> result(vector.begin(), vector.end());
        for (std::size_t i = 0; i < rotation.inv_freq.size(); ++i) {
            const double angle = (to - from) * rotation.inv_freq[i];
            const auto [first, second] = rotation.pair(i);
            const double x = result[first], y = result[second];
            result[first] = x * std::cos(angle) - y * std::sin(angle);
            result[second] = x * std::sin(angle) + y * std::cos(angle);
        }
        return result;
    }

    Philox random;
    Shape shape{.layers = 1,
                .query_heads = 1,
                .kv_heads = 1,
                .head_dim = 4,
                .hidden_size = 4,
                .softmax_scale = 0.5};
    Layer layer;
    Position budget = 1;
};

/// The key that is in the cache for `position` after the decision.
std::vector<float> cached(const Turned& drawn, const Merges& merges, Position position) {
    const auto at = std::lower_bound(merges.changed.begin(), merges.changed.end(), position);
    if (at == merges.changed.end() || *at != position)
        return drawn.key(position);
    const auto first = merges.keys.begin() + (at - merges.changed.begin()) * drawn.shape.head_dim;
    return {first, first + drawn.shape.head_dim};
}

}  // namespace

TEST_CASE("later queries meet re-rotated keys as if the cache were numbered without gaps",
          "[policies][rerotate][twin]") {
    const HeadId only{0, 0};
    for (int i = 0; i < shapes; ++i) {
        const Turned drawn(i);
        const std::string base = i % 2 == 0 ? "knorm" : "streaming_llm";
        const Limit limit{drawn.budget, std::nullopt};
        const Decision plain = decide(*make_policy(base).policy, {&drawn.layer, 1}, limit);
        const PolicyRun run = make_policy("rerotate(" + base + ")");
        const Decision decision = decide(*run.policy, {&drawn.layer, 1}, limit);
        const std::vector<Position>& keep = decision[only];
        REQUIRE(keep == plain[only]);
        const Merges& merges = decision.merges(only);
        CHECK(merges.absorbed.empty());
        const Position context = drawn.layer.context_len, later = context + drawn.draw(5, 0, 40);
        const std::vector<float> query = drawn.key(0);  // any vector, as of its true position
        for (std::size_t slot = 0; slot < keep.size(); ++slot) {
            const std::vector<float> key = cached(drawn, merges, keep[slot]);
            const double gapless = static_cast<double>(std::ssize(keep) + later - context);
            const std::vector<double> moved_query = drawn.turned(query, later, gapless);
            const std::vector<double> moved_key =
                drawn.turned(drawn.key(keep[slot]), keep[slot], static_cast<double>(slot));
            double found = 0.0, expected = 0.0;
            for (std::size_t c = 0; c < key.size(); ++c) {
                found += static_cast<double>(query[c]) * static_cast<double>(key[c]);
                expected += moved_query[c] * moved_key[c];
            }
            CHECK(found == Approx(expected).margin(2e-5));
        }
    }
}

TEST_CASE("of a cache of sinks and latest tokens the sinks alone are turned, values stay",
          "[policies][rerotate]") {
    const Turned drawn(11);
    const PolicyRun run = make_policy("rerotate(streaming_llm:sinks=3)");
    REQUIRE(drawn.layer.context_len > 12);
    const Decision decision = decide(*run.policy, {&drawn.layer, 1}, {10, std::nullopt});
    const Merges& merges = decision.merges({0, 0});
    CHECK(merges.changed == std::vector<Position>{0, 1, 2});
    const auto values = drawn.layer.data.values.begin();
    CHECK(std::equal(merges.values.begin(), merges.values.end(), values));
}

TEST_CASE("a cache that holds everything is left alone", "[policies][rerotate]") {
    const Turned drawn(12);
    const PolicyRun run = make_policy("rerotate(knorm)");
    const Decision decision = decide(*run.policy, {&drawn.layer, 1}, {1000, std::nullopt});
    CHECK(decision.merges({0, 0}).changed.empty());
}

TEST_CASE("bases that change keys or decide block by block cannot be re-rotated",
          "[policies][rerotate]") {
    const auto refusal = [](const std::string& spec) {
        try {
            make_policy(spec);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    using Catch::Contains;
    CHECK_THAT(refusal("rerotate(ems)"), Contains("ems changes keys itself"));
    CHECK_THAT(refusal("rerotate(rerotate(knorm))"), Contains("changes keys itself"));
    CHECK_THAT(refusal("rerotate(laser_kv)"), Contains("decides block by block"));
    CHECK_THAT(refusal("rerotate(kvzip)"), Contains("over all layers at once"));
    CHECK_THAT(refusal("rerotate(knorm,tova)"), Contains("takes one base"));
    for (const char* spec : {"rerotate(ems)", "rerotate(knorm,tova)"})
        CHECK_THAT(
            refusal(spec),
            Contains("name one base that decides when asked, layer by layer, and leaves keys "
                     "as they are, whether it scores or not, as in rerotate(snapkv)"));
    CHECK_THAT(refusal("adakv(rerotate(knorm))"), Contains("wraps a policy itself"));
}
