#include "model/transformer.hpp"

#include "core/error.hpp"
#include "core/kernels.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/naive_transformer.hpp"
#include "tests/support/small_model.hpp"

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

using namespace kvtape;
using namespace kvtape::model;
using namespace kvtape::testing;
using Catch::Matchers::Contains;

namespace {

/// The largest difference from the naive twin, relative to its largest logit.
double error_of(const Config& config, std::size_t length, Position chunk) {
    const RandomCheckpoint checkpoint(config);
    const auto backend = cpu_backend(ElementType::float32, 2);
    auto model = Transformer::load(checkpoint.path(), config, *backend);
    const std::vector<std::int32_t> tokens = some_tokens(length);
    KvCache cache(model, 0);
    const std::vector<float> found = model.forward(tokens, cache, nullptr, chunk);
    const Row expected = NaiveTransformer(config, checkpoint.tensors).logits(tokens);
    double worst = 0.0, largest = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
        largest = std::max(largest, std::abs(expected[i]));
    }
    return worst / largest;
}

/// Everything that a run yields, for comparison bit by bit.
struct Run : Tap {
    TapRequest wants(std::int32_t, const Block& block) override {
        blocks.push_back(block);
        positions.clear();
        for (Position position = block.begin; position < block.end; ++position)
            if (position % 3 != 1)
                positions.push_back(position);
        return {positions};
    }
    void take(const TapRows& rows) override {
        const auto count = static_cast<Eigen::Index>(rows.positions.size());
        for (Eigen::Index i = 0; i < count; ++i)
            for (Eigen::Index head = 0; head < rows.logsumexp.rows(); ++head) {
                auto& row = recorded[{rows.layer,
                                      rows.positions[static_cast<std::size_t>(i)],
                                      static_cast<std::int32_t>(head)}];
                for (const auto& matrix : {rows.queries, rows.outputs})
                    row.insert(row.end(),
                               matrix.row(head * count + i).data(),
                               matrix.row(head * count + i).data() + matrix.cols());
                row.push_back(rows.logsumexp(head, i));
            }
    }
    std::vector<Block> blocks;
    std::vector<Position> positions;
    std::map<std::array<std::int32_t, 3>, std::vector<float>> recorded;
};

struct Outcome {
    std::vector<float> logits, keys, values, column_sums;
    std::map<std::array<std::int32_t, 3>, std::vector<float>> recorded;
    bool operator==(const Outcome&) const = default;
};

Outcome run(const std::filesystem::path& directory,
            const Config& config,
            ElementType type,
            int threads,
            Position chunk) {
    const auto backend = cpu_backend(type, threads);
    auto model = Transformer::load(directory, config, *backend);
    KvCache cache(model, 170);
    Run tap;
    Outcome outcome;
    outcome.logits = model.forward(some_tokens(200), cache, &tap, chunk);
    outcome.logits = model.forward(some_tokens(1), cache, &tap, chunk);
    for (std::int32_t layer = 0; layer < config.layers; ++layer)
        for (const auto& [all, one] : {std::pair(&outcome.keys, cache.keys(layer)),
                                       std::pair(&outcome.values, cache.values(layer)),
                                       std::pair(&outcome.column_sums, cache.column_sums(layer))})
            all->insert(all->end(), one.begin(), one.end());
    outcome.recorded = std::move(tap.recorded);
    return outcome;
}

}  // namespace

TEST_CASE("one forward covers the whole Llama family", "[model][transformer]") {
    const auto with = [](const std::function<void(Json&)>& change) {
        Json json = small_config();
        change(json);
        return parse(json);
    };
    CHECK(error_of(parse(small_config()), 40, 512) < 1e-5);
    CHECK(error_of(with([](Json& json) { json["tie_word_embeddings"] = true; }), 20, 7) < 1e-5);
    CHECK(error_of(with([](Json& json) { json["attention_bias"] = true; }), 20, 512) < 1e-5);
    CHECK(error_of(with([](Json& json) { json["mlp_bias"] = true; }), 20, 512) < 1e-5);
    CHECK(error_of(with([](Json& json) { json["num_key_value_heads"] = 6; }), 20, 512) < 1e-5);
    CHECK(error_of(with([](Json& json) { json["num_key_value_heads"] = 1; }), 20, 512) < 1e-5);
    CHECK(error_of(with([](Json& json) { json["sliding_window"] = 5; }), 40, 16) < 1e-5);
    CHECK(error_of(with([](Json& json) {
                       json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
                   }),
                   20,
                   512) < 1e-5);
    Config normalised = parse(small_config());
    normalised.qk_norm = true;
    CHECK(error_of(normalised, 20, 512) < 1e-5);
    Config biased = parse(small_config());
    biased.qkv_bias = true;
    CHECK(error_of(biased, 20, 512) < 1e-5);
}

TEST_CASE("bits depend neither on threads, nor on chunks, nor on the instruction set",
          "[model][transformer]") {
    Json json = small_config();
    json["layer_types"] = {"full_attention", "sliding_attention"};
    json["sliding_window"] = 135;
    const Config config = parse(json);
    const RandomCheckpoint checkpoint(config, ElementType::bfloat16);
    for (const ElementType type :
         {ElementType::float32, ElementType::bfloat16, ElementType::float16}) {
        const Outcome one = run(checkpoint.path(), config, type, 1, 512);
        CHECK(run(checkpoint.path(), config, type, 2, 512) == one);
        CHECK(run(checkpoint.path(), config, type, 7, 512) == one);
        for (const Position chunk : {3, 64, 199})
            CHECK(run(checkpoint.path(), config, type, 2, chunk) == one);
        const Isa isa = active_isa();
        for (const Isa other : {Isa::avx2, Isa::avx512})
            if (supports(other)) {
                use_isa(other);
                CHECK(run(checkpoint.path(), config, type, 2, 512) == one);
            }
        use_isa(isa);
    }
}

TEST_CASE("a tap is asked for every layer of every block and told when it decodes",
          "[model][transformer]") {
    const Config config = parse(small_config());
    const RandomCheckpoint checkpoint(config);
    const auto backend = cpu_backend(ElementType::float32, 1);
    auto model = Transformer::load(checkpoint.path(), config, *backend);
    KvCache cache(model, 0);
    Run tap;
    model.forward(some_tokens(9), cache, &tap, 4);
    model.forward(some_tokens(1), cache, &tap, 4);
    const std::vector<Block> expected{{0, 4, false},
                                      {0, 4, false},
                                      {4, 8, false},
                                      {4, 8, false},
                                      {8, 9, false},
                                      {8, 9, false},
                                      {9, 10, true},
                                      {9, 10, true}};
    CHECK(tap.blocks == expected);
    CHECK(tap.recorded.size() == 2 * 6 * 7);
    CHECK(cache.length() == 10);
    CHECK(cache.column_sums(0) == std::vector<float>(60));
}

TEST_CASE("a greedy answer is fed back and ends before a stop token", "[model][transformer]") {
    const Config config = parse(small_config());
    const RandomCheckpoint checkpoint(config);
    const auto backend = cpu_backend(ElementType::float32, 1);
    auto model = Transformer::load(checkpoint.path(), config, *backend);
    const std::vector<std::int32_t> prompt = some_tokens(5);
    KvCache cache(model, 0);
    const Generation free = generate(model, prompt, {.max_new_tokens = 6, .top_logits = 3}, cache);
    REQUIRE(free.tokens.size() == 6);
    CHECK_FALSE(free.stopped);
    CHECK(cache.length() == 11);
    REQUIRE(free.logits_top.size() == 18);
    std::vector<std::int32_t> fed = prompt;
    for (std::size_t i = 0; i < 6; ++i) {
        KvCache fresh(model, 0);
        const TopLogits top = top_logits(model.forward(fed, fresh), 3);
        CHECK(top.ids.front() == free.tokens[i]);
        for (std::size_t j = 0; j < 3; ++j) {
            CHECK(free.logits_top[3 * i + j] == top.logits[j]);
            CHECK(free.logits_top_ids[3 * i + j] == top.ids[j]);
        }
        fed.push_back(free.tokens[i]);
    }
    KvCache again(model, 0);
    const Generation stopped =
        generate(model, prompt, {.max_new_tokens = 6, .stop = {free.tokens[0]}}, again);
    CHECK(stopped.tokens.empty());
    CHECK(stopped.stopped);
    CHECK(again.length() == 5);
}

TEST_CASE("a prompt with a pause goes through in chunks that end there, to the same answer",
          "[model][transformer]") {
    const Config config = parse(small_config());
    const RandomCheckpoint checkpoint(config);
    const auto backend = cpu_backend(ElementType::float32, 1);
    auto model = Transformer::load(checkpoint.path(), config, *backend);
    const std::vector<std::int32_t> prompt = some_tokens(9);
    const auto blocks = [&](Position pause, Generation& generation) {
        KvCache cache(model, 0);
        Run tap;
        generation =
            generate(model, prompt, {.max_new_tokens = 2, .chunk = 4, .pause = pause}, cache, &tap);
        std::vector<Position> ends;
        for (std::size_t i = 0; i < tap.blocks.size(); i += 2)  // Asked for both layers.
            if (!tap.blocks[i].decoding)
                ends.push_back(tap.blocks[i].end);
        return ends;
    };
    Generation straight, paused;
    CHECK(blocks(0, straight) == std::vector<Position>{4, 8, 9});
    CHECK(blocks(6, paused) == std::vector<Position>{4, 6, 9});
    CHECK(blocks(9, paused) == std::vector<Position>{4, 8, 9});
    CHECK(paused.tokens == straight.tokens);
    CHECK(paused.logits_top == straight.logits_top);
}

TEST_CASE("equal logits go to the lower id first", "[model][transformer]") {
    const std::vector<float> logits{1.0f, 3.0f, 2.0f, 3.0f};
    CHECK(top_logits(logits, 3).ids == std::vector<std::int32_t>{1, 3, 2});
    CHECK(top_logits(logits, 9).ids.size() == 4);
    CHECK(top_logits(logits, 0).ids.empty());
}

TEST_CASE("tensors that do not fit the configuration and ids outside the vocabulary are refused",
          "[model][transformer]") {
    const Config config = parse(small_config());
    const auto backend = cpu_backend(ElementType::float32, 1);
    const RandomCheckpoint checkpoint(config);
    auto model = Transformer::load(checkpoint.path(), config, *backend);
    KvCache cache(model, 0);
    for (const std::int32_t token : {-1, 37, 1 << 30})
        CHECK_THROWS_WITH(model.forward(std::vector<std::int32_t>{token}, cache),
                          Contains(std::to_string(token)) && Contains("37"));
    CHECK_THROWS_AS(model.forward({}, cache), Error);
    CHECK(cache.length() == 0);

    Json wider = small_config();
    wider["intermediate_size"] = 41;
    CHECK_THROWS_WITH(Transformer::load(checkpoint.path(), parse(wider), *backend),
                      Contains("gate_proj") && Contains("[40,24]") && Contains("[41,24]"));
    Json deeper = small_config();
    deeper["num_hidden_layers"] = 3;
    CHECK_THROWS_WITH(Transformer::load(checkpoint.path(), parse(deeper), *backend),
                      Contains("model.layers.2") && Contains("missing"));
    CHECK_THROWS_AS(Transformer::load(checkpoint.path(), *backend), Error);
    Json shallower = small_config();
    shallower["num_hidden_layers"] = 1;
    CHECK_THROWS_WITH(
        Transformer::load(checkpoint.path(), parse(shallower), *backend),
        Contains("model.layers.1.input_layernorm.weight") && Contains("num_hidden_layers is 1"));
}

TEST_CASE("a tensor that is missing is named before the hole it leaves", "[model][transformer]") {
    const Config config = parse(small_config());
    const auto backend = cpu_backend(ElementType::float32, 1);
    const RandomCheckpoint checkpoint(config);
    const std::string whole = safetensors_file(checkpoint.tensors, ElementType::float32);
    const auto load_with_name = [&](const std::string& from, const std::string& to) {
        std::string changed = whole;
        changed.replace(changed.find(from), from.size(), to);
        write_file(checkpoint.path() / "model.safetensors", changed);
        Transformer::load(checkpoint.path(), config, *backend);
    };
    const std::string norm = "\"model.norm.weight\":";
    const std::size_t begin = whole.find(norm);
    const std::string entry = whole.substr(begin, whole.find('}', begin) + 1 - begin);
    CHECK_THROWS_WITH(load_with_name("," + entry, std::string(entry.size() + 1, ' ')),
                      Contains("model.norm.weight is missing"));
    CHECK_THROWS_WITH(load_with_name("lm_head.weight", "lm_tail.weight"),
                      Contains("lm_head.weight is missing"));
}
