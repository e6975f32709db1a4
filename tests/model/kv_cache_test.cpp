#include "model/kv_cache.hpp"

#include "core/error.hpp"
#include "model/transformer.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/small_model.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;
using namespace kvtape::testing;

namespace {

constexpr Position prompt = 30;

/// Whether a token stays: other tokens in every layer and head, more in some heads than in others.
bool stays(HeadId id, Position position) {
    return position >= prompt || (position * 7 + id.layer * 3 + id.head * 5) % (2 + id.head) == 0;
}

Decision ragged_decision(const Config& config) {
    Decision decision(config.layers, config.kv_heads);
    for (std::int32_t layer = 0; layer < config.layers; ++layer)
        for (std::int32_t head = 0; head < config.kv_heads; ++head)
            for (Position position = 0; position < prompt; ++position)
                if (stays({layer, head}, position))
                    decision[{layer, head}].push_back(position);
    return decision;
}

struct SmallModel {
    explicit SmallModel(int threads = 2)
        : config(parse(small_config())),
          checkpoint(config),
          backend(cpu_backend(ElementType::float32, threads)),
          model(Transformer::load(checkpoint.path(), config, *backend)) {}

    /// A cache that went through the prompt.
    KvCache after_prompt() {
        KvCache cache(model, 0);
        model.forward(some_tokens(static_cast<std::size_t>(prompt)), cache);
        return cache;
    }

    Config config;
    RandomCheckpoint checkpoint;
    std::unique_ptr<Backend> backend;
    Transformer model;
};

std::vector<std::int32_t> tail(std::size_t count) {
    std::vector<std::int32_t> all = some_tokens(static_cast<std::size_t>(prompt) + count);
    return {all.begin() + prompt, all.end()};
}

double largest_error(const std::vector<float>& found, const Row& expected) {
    double worst = 0.0, largest = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
        largest = std::max(largest, std::abs(expected[i]));
    }
    return worst / largest;
}

}  // namespace

namespace {

/// Evicts from every layer before its block attends.
class Evicting final : public Tap {
  public:
    Evicting(KvCache& cache, Decision decision) : cache_(cache), decision_(std::move(decision)) {}
    TapRequest wants(std::int32_t, const Block&) override { return {}; }
    void appended(std::int32_t layer, const Block&) override { cache_.apply(decision_, layer); }
    void take(const TapRows&) override {}

  private:
    KvCache& cache_;
    Decision decision_;
};

}  // namespace

TEST_CASE("evicting once a block was appended is evicting before it came", "[model][kv_cache]") {
    SmallModel small;
    const std::size_t more = GENERATE(1u, 3u, 21u);
    const Position end = prompt + static_cast<Position>(more);
    KvCache before = small.after_prompt(), within = small.after_prompt();
    Decision decision = ragged_decision(small.config);
    before.apply(decision);
    for (std::int32_t layer = 0; layer < small.config.layers; ++layer)
        for (std::int32_t head = 0; head < small.config.kv_heads; ++head)
            for (Position position = prompt; position < end; ++position)
                decision[{layer, head}].push_back(position);
    Evicting tap(within, decision);
    CHECK(small.model.forward(tail(more), within, &tap) == small.model.forward(tail(more), before));
    CHECK(within.entries() == before.entries());
    CHECK(within.positions({1, 0}) == before.positions({1, 0}));
    CHECK(within.length() == end);
}

TEST_CASE("a block cannot lose its own tokens before it attends", "[model][kv_cache]") {
    SmallModel small;
    KvCache cache = small.after_prompt();
    Decision decision = ragged_decision(small.config);
    for (std::int32_t layer = 0; layer < small.config.layers; ++layer)
        for (std::int32_t head = 0; head < small.config.kv_heads; ++head)
            decision[{layer, head}].push_back(prompt + 1);
    Evicting tap(cache, decision);
    CHECK_THROWS_WITH(small.model.forward(tail(2), cache, &tap),
                      Catch::Contains("a token of the block itself, which begins at position 30"));
}

TEST_CASE("the model goes on over what was kept as if the rest could not be seen",
          "[model][kv_cache]") {
    SmallModel small;
    const std::size_t more = GENERATE(1u, 3u, 21u);
    KvCache cache = small.after_prompt();
    cache.apply(ragged_decision(small.config));
    const std::vector<float> found = small.model.forward(tail(more), cache);
    const NaiveTransformer naive(
        small.config, small.checkpoint.tensors, [](HeadId id, std::size_t query, std::size_t key) {
            return query < static_cast<std::size_t>(prompt) ||
                   stays(id, static_cast<Position>(key));
        });
    const Row expected = naive.logits(some_tokens(static_cast<std::size_t>(prompt) + more));
    CHECK(largest_error(found, expected) < 1e-5);
    CHECK(largest_error(found,
                        NaiveTransformer(small.config, small.checkpoint.tensors)
                            .logits(some_tokens(static_cast<std::size_t>(prompt) + more))) > 1e-3);
}

TEST_CASE("one token at a time gives the bits of all at once after an eviction",
          "[model][kv_cache]") {
    SmallModel small;
    KvCache cache = small.after_prompt();
    cache.apply(ragged_decision(small.config));
    KvCache other = cache.copy();
    const std::vector<std::int32_t> tokens = tail(9);
    std::vector<float> stepwise;
    for (const std::int32_t token : tokens)
        stepwise = small.model.forward(std::span(&token, 1), cache);
    CHECK(small.model.forward(tokens, other) == stepwise);
}

TEST_CASE("an evicting cache knows its positions and frees memory", "[model][kv_cache]") {
    SmallModel small;
    KvCache cache = small.after_prompt();
    const std::int64_t before = cache.bytes();
    const Decision decision = ragged_decision(small.config);
    cache.apply(decision);
    std::int64_t kept = 0;
    for (std::int32_t layer = 0; layer < 2; ++layer)
        for (std::int32_t head = 0; head < 2; ++head) {
            CHECK(cache.positions({layer, head}) == decision[{layer, head}]);
            kept += std::ssize(decision[{layer, head}]);
        }
    CHECK(cache.entries() == kept);
    CHECK(cache.length() == prompt);
    CHECK(cache.bytes() < before);
    small.model.forward(tail(2), cache);
    const std::vector<Position> positions = cache.positions({1, 1});
    CHECK(std::vector<Position>(positions.end() - 2, positions.end()) ==
          std::vector<Position>{prompt, prompt + 1});
}

TEST_CASE("kept entries keep their keys and values to the bit", "[model][kv_cache]") {
    SmallModel small;
    KvCache cache = small.after_prompt();
    const std::vector<float> all = cache.keys({1, 0}, 0);
    const Decision decision = ragged_decision(small.config);
    cache.apply(decision);
    std::vector<float> expected;
    for (const Position position : decision[{1, 0}])
        expected.insert(
            expected.end(), all.begin() + position * 8, all.begin() + (position + 1) * 8);
    CHECK(cache.keys({1, 0}, 0) == expected);
}

TEST_CASE("keeping everything changes nothing", "[model][kv_cache]") {
    SmallModel small;
    Decision everything(2, 2);
    for (std::int32_t layer = 0; layer < 2; ++layer)
        for (std::int32_t head = 0; head < 2; ++head)
            for (Position position = 0; position < prompt; ++position)
                everything[{layer, head}].push_back(position);
    KvCache cache = small.after_prompt(), untouched = small.after_prompt();
    cache.apply(everything);
    CHECK(small.model.forward(tail(5), cache) == small.model.forward(tail(5), untouched));
}

TEST_CASE("merged entries are what the next token attends to", "[model][kv_cache]") {
    SmallModel small;
    Decision decision(2, 2, Merging::yes);
    for (std::int32_t layer = 0; layer < 2; ++layer)
        for (std::int32_t head = 0; head < 2; ++head) {
            decision[{layer, head}] = {0, 3, 4};
            Merges& merges = decision.merges({layer, head});
            merges.absorbed = {{2, 3}};
            merges.changed = {3};
            merges.keys.assign(8, 0.25f);
            merges.values.assign(8, -0.5f);
        }
    KvCache cache = small.after_prompt();
    const std::vector<float> keys = cache.keys({0, 1}, 0);
    cache.apply(decision);
    const std::vector<float> found = cache.keys({0, 1}, 0);
    CHECK(std::equal(found.begin(), found.begin() + 8, keys.begin()));
    CHECK(std::all_of(found.begin() + 8, found.begin() + 16, [](float x) { return x == 0.25f; }));
    CHECK(std::equal(found.begin() + 16, found.end(), keys.begin() + 4 * 8));
    CHECK(cache.values({1, 0}, 1)[0] == -0.5f);
}

TEST_CASE("tokens can be tried out at a later position and taken back", "[model][kv_cache]") {
    SmallModel small;
    const bool evicted = GENERATE(false, true);
    KvCache cache = small.after_prompt(), straight = small.after_prompt();
    if (evicted) {
        cache.apply(ragged_decision(small.config));
        straight.apply(ragged_decision(small.config));
    }
    cache.seek(prompt + 10);
    small.model.forward(tail(4), cache);
    CHECK(cache.positions({0, 0}).back() == prompt + 13);
    cache.seek(prompt);
    CHECK(cache.length() == prompt);
    CHECK(cache.entries() == straight.entries());
    CHECK(small.model.forward(tail(3), cache) == small.model.forward(tail(3), straight));
}

TEST_CASE("a position that is not held cannot be kept", "[model][kv_cache]") {
    SmallModel small;
    KvCache cache = small.after_prompt();
    Decision decision(2, 2);
    decision[{0, 0}] = {prompt};
    CHECK_THROWS_AS(cache.apply(decision), Error);
}
