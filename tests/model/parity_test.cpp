#include "core/json.hpp"
#include "model/transformer.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/reference.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>
#include <string>

using namespace kvtape;
using namespace kvtape::model;
using Catch::Matchers::Contains;

namespace {

const std::filesystem::path source_dir = KVTAPE_SOURCE_DIR;

/// The committed file or folder, or the one that tests/parity/run.sh just made.
std::filesystem::path made(const char* fresh, const char* committed) {
    const char* path = std::getenv(fresh);
    return path != nullptr ? std::filesystem::path(path) : source_dir / committed;
}

/// What transformers computed.
Json vectors(const std::filesystem::path& path) {
    std::ifstream file(path);
    REQUIRE(file);
    return parse_json(std::string(std::istreambuf_iterator<char>(file), {}), path.string());
}

/// Keeps the queries and log-sum-exps of every layer and position.
class Recorder final : public Tap {
  public:
    struct Layer {
        std::map<Position, std::vector<float>> queries;    ///< [query_heads * head_dim]
        std::map<Position, std::vector<float>> logsumexp;  ///< [query_heads]
    };

    TapRequest wants(std::int32_t, const Block& block) override {
        positions_.resize(static_cast<std::size_t>(block.end - block.begin));
        std::iota(positions_.begin(), positions_.end(), block.begin);
        return {positions_};
    }
    void take(const TapRows& rows) override {
        const Eigen::Index heads = rows.logsumexp.rows();
        const Eigen::Index count = rows.logsumexp.cols();
        Layer& layer = layers[rows.layer];
        for (Eigen::Index i = 0; i < count; ++i) {
            const Position position = rows.positions[static_cast<std::size_t>(i)];
            for (Eigen::Index head = 0; head < heads; ++head) {
                const auto row = rows.queries.row(head * count + i);
                layer.queries[position].insert(
                    layer.queries[position].end(), row.data(), row.data() + row.size());
                layer.logsumexp[position].push_back(rows.logsumexp(head, i));
            }
        }
    }

    std::map<std::int32_t, Layer> layers;

  private:
    std::vector<Position> positions_;
};

/// The largest |found - expected| of the sampled logits, relative to the largest |logit|.
double logit_error(const std::vector<float>& found, const Json& expected) {
    double worst = 0.0;
    for (std::size_t i = 0; i < expected["ids"].size(); ++i) {
        const double logit = found[expected["ids"][i].get<std::size_t>()];
        worst = std::max(worst, std::abs(logit - expected["values"][i].get<double>()));
    }
    return worst / expected["largest"].get<double>();
}

/// The largest difference of sampled rows, relative to the largest value of the tensor, or of the
/// samples where that is not told; 0 where all are zero and equal. `at(head, position)` points to a
/// row.
template <typename Row>
double row_error(const Json& layer, const char* kind, const Row& at) {
    double worst = 0.0;
    double largest = layer.contains("largest") ? layer["largest"][kind].get<double>() : 0.0;
    for (const Json& sample : layer[kind]) {
        const float* row =
            at(sample["head"].get<std::int64_t>(), sample["position"].get<Position>());
        for (std::size_t i = 0; i < sample["values"].size(); ++i) {
            const double expected = sample["values"][i].get<double>();
            worst =
                std::max(worst, std::abs(row[sample["first"].get<std::size_t>() + i] - expected));
            largest = std::max(largest, std::abs(expected));
        }
    }
    return worst == 0.0 ? 0.0 : worst / largest;
}

/// Log-sum-exps of every row and column sums below `limit` of one query head, in double, from the
/// very queries and keys the model used.
struct Statistics {
    std::vector<double> logsumexp, column_sums;
    double largest_logit = 0.0;
};
Statistics statistics_of(std::size_t head,
                         const Recorder::Layer& recorded,
                         const std::vector<float>& keys,
                         Position limit,
                         const Shape& shape,
                         std::optional<Position> window) {
    const auto length = static_cast<Position>(recorded.queries.size());
    const auto kv_head = static_cast<std::int64_t>(head) / shape.group();
    Statistics statistics;
    statistics.column_sums.resize(recorded.queries.size());
    for (Position row = 0; row < length; ++row) {
        const float* query =
            recorded.queries.at(row).data() + static_cast<std::int64_t>(head) * shape.head_dim;
        std::vector<double> logits;
        const Position first = window ? std::max(0, row - *window + 1) : 0;
        for (Position key = first; key <= row; ++key)
            logits.push_back(shape.softmax_scale *
                             reference::dot(query,
                                            keys.data() + (kv_head * length + key) * shape.head_dim,
                                            shape.head_dim));
        const double largest = *std::max_element(logits.begin(), logits.end());
        double sum = 0.0;
        for (const double logit : logits)
            sum += std::exp(logit - largest);
        statistics.logsumexp.push_back(largest + std::log(sum));
        for (const double logit : logits)
            statistics.largest_logit = std::max(statistics.largest_logit, std::abs(logit));
        for (std::size_t key = 0; key < logits.size() && row < limit; ++key)
            statistics.column_sums[static_cast<std::size_t>(first) + key] +=
                std::exp(logits[key] - statistics.logsumexp.back());
    }
    return statistics;
}

/// Against double over our own queries and keys tightly, against transformers as far as queries and
/// keys agree.
void check_statistics(const Json& expected,
                      const Recorder::Layer& recorded,
                      const std::vector<float>& keys,
                      const KvCache& cache,
                      const Config& config,
                      Position limit) {
    const Shape shape = config.shape(ElementType::float32);
    const auto head = expected["head"].get<std::size_t>();
    const Statistics exact =
        statistics_of(head,
                      recorded,
                      keys,
                      limit,
                      shape,
                      config.sliding_window[expected["layer"].get<std::size_t>()]);
    const std::vector<float> columns = cache.column_sums(expected["layer"].get<std::int32_t>());
    const std::span<const float> sums =
        std::span(columns).subspan(head * exact.column_sums.size(), exact.column_sums.size());
    const double total = static_cast<double>(limit);
    // A float32 logit is off by a few roundings, and its probability by as much, relatively.
    const double tolerance = 1e-5 + exact.largest_logit * 0x1p-22;
    CAPTURE(exact.largest_logit);
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const double logsumexp = recorded.logsumexp.at(static_cast<Position>(i))[head];
        // A log-sum-exp near zero is a difference of larger numbers: no smaller scale than 1.
        REQUIRE(std::abs(logsumexp - exact.logsumexp[i]) <
                1e-5 * std::max(1.0, std::abs(exact.logsumexp[i])));
        REQUIRE(std::abs(sums[i] - exact.column_sums[i]) < tolerance * exact.column_sums[i] + 1e-9);
    }
    for (std::size_t i = 0; i < expected["positions"].size(); ++i) {
        const auto position = expected["positions"][i].get<std::size_t>();
        const double logsumexp = expected["logsumexp"][i].get<double>();
        const double sum = expected["column_sums"][i].get<double>();
        CHECK(std::abs(recorded.logsumexp.at(static_cast<Position>(position))[head] - logsumexp) <
              1e-4 * std::max(1.0, std::abs(logsumexp)));
        CHECK(std::abs(sums[position] - sum) < 5e-4 * sum + 1e-6 * total);
    }
}

/// Largest differences, relative to the largest value of a tensor and of the logits.
struct Tolerance {
    double rows = 0.0;  ///< of queries, keys and values
    double logits = 0.0;
};

void check_layer(const Json& expected,
                 const Recorder::Layer& recorded,
                 const KvCache& cache,
                 const Config& config,
                 Position limit,
                 const Tolerance& tolerance) {
    const Shape shape = config.shape(ElementType::float32);
    const auto layer = expected["layer"].get<std::int32_t>();
    const Position length = cache.length();
    const auto cached = [&](const std::vector<float>& all) {
        return [&](std::int64_t head, Position position) {
            return all.data() + (head * length + position) * shape.head_dim;
        };
    };
    CAPTURE(layer, length);
    CHECK(row_error(expected, "queries", [&](std::int64_t head, Position position) {
              return recorded.queries.at(position).data() + head * shape.head_dim;
          }) < tolerance.rows);
    const std::vector<float> keys = cache.keys(layer);
    CHECK(row_error(expected, "keys", cached(keys)) < tolerance.rows);
    const std::vector<float> values = cache.values(layer);
    CHECK(row_error(expected, "values", cached(values)) < tolerance.rows);

    check_statistics(expected, recorded, keys, cache, config, limit);
}

/// One prompt, in two pieces.
void check_prompt(Transformer& model, const Json& prompt, const Tolerance& tolerance) {
    const auto ids = prompt["ids"].get<std::vector<std::int32_t>>();
    const auto part = prompt["part"].get<std::size_t>();
    CAPTURE(ids.size());
    KvCache cache(model, static_cast<Position>(part));
    Recorder recorder;
    const std::span<const std::int32_t> all(ids);
    std::vector<float> logits = model.forward(all.first(part), cache, &recorder);
    CHECK(logit_error(logits, prompt["part_logits"]) < tolerance.logits);
    if (part < ids.size())
        logits = model.forward(all.subspan(part), cache, &recorder);
    CHECK(logit_error(logits, prompt["logits"]) < tolerance.logits);
    for (const Json& layer : prompt["layers"])
        check_layer(layer,
                    recorder.layers.at(layer["layer"].get<std::int32_t>()),
                    cache,
                    model.config(),
                    static_cast<Position>(part),
                    tolerance);
}

constexpr std::array families_made{"llama2",
                                   "llama3",
                                   "llama-linear",
                                   "llama-biased",
                                   "llama-yarn",
                                   "llama-dynamic",
                                   "mistral",
                                   "phi3",
                                   "qwen2",
                                   "qwen2-window",
                                   "qwen3"};

/// Two computations in bfloat16 may each stray from float32 as far as transformers' does, and
/// round the result to 8 bits.
double bfloat16_bound(const Json& expected) {
    return 2.0 * expected["strays"].get<double>() + 0x1p-8 * expected["largest"].get<double>();
}

template <typename Row>
void check_bfloat16_rows(const Json& expected, const Row& at) {
    for (const Json& sample : expected["samples"]) {
        const float* row =
            at(sample["head"].get<std::int64_t>(), sample["position"].get<Position>()) +
            sample["first"].get<std::size_t>();
        for (std::size_t i = 0; i < sample["values"].size(); ++i)
            CHECK(std::abs(row[i] - sample["values"][i].get<double>()) <= bfloat16_bound(expected));
    }
}

void check_bfloat16_prompt(Transformer& model, const Json& prompt) {
    const auto ids = prompt["ids"].get<std::vector<std::int32_t>>();
    CAPTURE(ids.size());
    KvCache cache(model, 0);
    Recorder recorder;
    const std::vector<float> logits = model.forward(ids, cache, &recorder, 100);
    const Json& expected = prompt["logits"];
    for (std::size_t i = 0; i < expected["ids"].size(); ++i)
        CHECK(std::abs(logits[expected["ids"][i].get<std::size_t>()] -
                       expected["values"][i].get<double>()) <= bfloat16_bound(expected));
    const std::int64_t width = model.shape().head_dim, length = cache.length();
    for (std::int32_t layer = 0; layer < model.shape().layers; ++layer) {
        CAPTURE(layer);
        const Json& tensors = prompt["layers"][static_cast<std::size_t>(layer)];
        check_bfloat16_rows(tensors["queries"], [&](std::int64_t head, Position position) {
            return recorder.layers.at(layer).queries.at(position).data() + head * width;
        });
        const std::vector<float> keys = cache.keys(layer), values = cache.values(layer);
        check_bfloat16_rows(tensors["keys"], [&](std::int64_t head, Position position) {
            return keys.data() + (head * length + position) * width;
        });
        check_bfloat16_rows(tensors["values"], [&](std::int64_t head, Position position) {
            return values.data() + (head * length + position) * width;
        });
    }
}

}  // namespace

TEST_CASE("logits, keys, values, queries and attention statistics agree with transformers",
          "[model][parity]") {
    const Json prompts = vectors(made("KVTAPE_PARITY_VECTORS", "tests/parity/vectors.json"));
    REQUIRE(prompts.size() == 32);
    const auto backend = cpu_backend(ElementType::float32, 2);
    auto model = Transformer::load(source_dir / "data/needle-model", *backend);
    for (const Json& prompt : prompts)
        check_prompt(model, prompt, {.rows = 1e-4, .logits = 1e-4});
}

TEST_CASE("every family agrees with transformers", "[model][parity]") {
    const std::filesystem::path families =
        made("KVTAPE_PARITY_FAMILIES", "tests/model/data/families");
    // Vectors made on this machine come from other sums of transformers than the committed ones.
    const double rows = std::getenv("KVTAPE_PARITY_FAMILIES") == nullptr ? 1e-5 : 2e-5;
    for (const char* family : families_made) {
        CAPTURE(family);
        const Json prompts = vectors(families / family / "vectors.json");
        REQUIRE(prompts.size() == 6);
        const auto backend = cpu_backend(ElementType::float32, 2);
        auto model = Transformer::load(families / family, *backend);
        for (const Json& prompt : prompts)
            check_prompt(model, prompt, {.rows = rows, .logits = 3e-5});
    }
}

TEST_CASE("every family in bfloat16 agrees with transformers as far as bfloat16 goes",
          "[model][parity]") {
    const std::filesystem::path families =
        made("KVTAPE_PARITY_FAMILIES", "tests/model/data/families");
    for (const char* family : families_made) {
        CAPTURE(family);
        const Json prompts = vectors(families / family / "bfloat16.json");
        REQUIRE(prompts.size() == 3);
        const auto backend = cpu_backend(ElementType::bfloat16, 2);
        auto model = Transformer::load(families / family, *backend);
        for (const Json& prompt : prompts)
            check_bfloat16_prompt(model, prompt);
    }
}

TEST_CASE("a family's answers end where generation_config.json says", "[model][parity]") {
    const std::filesystem::path families =
        made("KVTAPE_PARITY_FAMILIES", "tests/model/data/families");
    CHECK(Config::load(families / "phi3/config.json").stop_tokens ==
          std::vector<std::int32_t>{1, 3});
    CHECK(Config::load(families / "llama2/config.json").stop_tokens ==
          std::vector<std::int32_t>{1});
}

TEST_CASE("dynamic RoPE scaling runs up to the length it was trained for", "[model][parity]") {
    const std::filesystem::path folder = source_dir / "tests/model/data/families/llama-dynamic";
    const auto backend = cpu_backend(ElementType::float32, 2);
    auto model = Transformer::load(folder, *backend);
    KvCache cache(model, 0);
    const std::vector<std::int32_t> ids(4096, 3);
    model.forward(ids, cache);
    CHECK_THROWS_WITH(
        model.forward(std::span(ids).first(1), cache),
        Contains("4097") && Contains("dynamic") && Contains("max_position_embeddings"));
}
