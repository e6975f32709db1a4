#include "tools/recording.hpp"

#include "core/half.hpp"
#include "model/safetensors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/twins/queries.hpp"
#include "tools/workload/workload.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <numeric>
#include <vector>

using namespace kvtape;
using namespace kvtape::workload;

namespace {

/// The needle model with one short prompt.
struct Setting {
    std::filesystem::path folder = std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model";
    model::Tokenizer tokenizer = model::Tokenizer::load(folder / "tokenizer.json");
    std::unique_ptr<model::Backend> backend = model::cpu_backend(ElementType::float32, 2);
    model::Transformer model = model::Transformer::load(folder, *backend);
    Prompt prompt = tokenize(make_document(Lexicon::load(folder / "lexicon.json"),
                                           tokenizer,
                                           parse_task("passkey:digits=5"),
                                           {.length = 96, .depths = {}, .seed = 0},
                                           0),
                             tokenizer);

    Recording record(const RecordingOptions& options) {
        return Recording(model, tokenizer, prompt, options);
    }
};

float at(const std::vector<float>& values, std::size_t index) {
    return values.at(index);
}

}  // namespace

TEST_CASE("A recording says while it runs how far the model has come", "[tools][recording]") {
    Setting setting;
    std::vector<Position> told;
    const Recording recording =
        setting.record({.progress = [&](Position ran) { told.push_back(ran); }});
    REQUIRE(!told.empty());
    CHECK(told.front() == 0);
    CHECK(std::is_sorted(told.begin(), told.end()));
    CHECK(told.back() == recording.sequence().length() - 1);
}

TEST_CASE("The last context queries, the question's and the answer's are recorded",
          "[tools][recording]") {
    Setting setting;
    const Recording recording = setting.record({.context_queries = 10});
    const SequenceInfo& sequence = recording.sequence();
    CHECK(sequence.context_len == 96);
    CHECK(sequence.generated() > 0);
    std::vector<Position> expected(static_cast<std::size_t>(sequence.length() - 86));
    std::iota(expected.begin(), expected.end(), 86);
    CHECK(sequence.query_positions == expected);
    const LayerData last = recording.layer(5);
    const std::size_t queries = expected.size();
    const auto tokens = static_cast<std::size_t>(sequence.length());
    CHECK(last.queries.size() == 8 * queries * 64);
    CHECK(last.outputs.size() == 8 * queries * 64);
    CHECK(last.logsumexp.size() == 8 * queries);
    CHECK(last.keys.size() == 4 * tokens * 64);
    CHECK(last.values.size() == 4 * tokens * 64);
    CHECK(last.column_sums.size() == 8 * tokens);
    CHECK(last.attention.empty());

    const LayerData all = setting.record({.context_queries = -1}).layer(5);
    REQUIRE(all.queries.size() == 8 * tokens * 64);
    for (std::size_t head = 0; head < 8; ++head)
        for (std::size_t i = 0; i < queries * 64; ++i)
            REQUIRE(at(last.queries, head * queries * 64 + i) ==
                    at(all.queries, (head * tokens + 86) * 64 + i));
}

TEST_CASE("Statistics of queries are those of the context's queries before RoPE",
          "[tools][recording]") {
    Setting setting;
    const Recording recording =
        setting.record({.context_queries = 10, .query_statistics = true, .threads = 2});
    const Recording whole = setting.record({.context_queries = -1});
    const Rotation rotation{.rotary_dim = 64,
                            .inv_freq = setting.model.config().inverse_frequencies};
    CHECK(recording.sequence().query_positions.front() == 86);
    for (const std::int32_t layer : {0, 5}) {
        const LayerData data = recording.layer(layer), all = whole.layer(layer);
        CHECK(all.query_mean.empty());
        CHECK(all.query_covariance.empty());
        CHECK(data.queries.size() < all.queries.size());
        const auto expected = reference::query_distribution(
            all.queries, whole.sequence().query_positions, 0, 8, 64, {4, 96}, rotation);
        REQUIRE(data.query_mean.size() == 8 * 64);
        REQUIRE(data.query_covariance.size() == 8 * 64 * 64);
        for (std::size_t i = 0; i < data.query_mean.size(); ++i)
            REQUIRE(at(data.query_mean, i) == Approx(at(expected.mean, i)).margin(1e-5));
        for (std::size_t i = 0; i < data.query_covariance.size(); ++i)
            REQUIRE(at(data.query_covariance, i) ==
                    Approx(at(expected.covariance, i)).margin(1e-4));
    }
}

TEST_CASE("W_o of a layer is what the checkpoint holds", "[tools][recording]") {
    Setting setting;
    const std::vector<float> projection = setting.model.output_projection(2);
    const auto hidden = static_cast<std::size_t>(setting.model.shape().hidden_size);
    REQUIRE(projection.size() == hidden * 8 * 64);
    const auto checkpoint = model::Checkpoint::open(setting.folder);
    const auto stored = checkpoint.tensor("model.layers.2.self_attn.o_proj.weight",
                                          {static_cast<std::int64_t>(hidden), 8 * 64});
    std::vector<float> decoded(projection.size());
    decode(stored.type, stored.bytes, decoded);
    CHECK(projection == decoded);
}

TEST_CASE("Text, answer and logits belong to the tokens that were fed", "[tools][recording]") {
    Setting setting;
    const SequenceInfo sequence = setting.record({}).sequence();
    CHECK(sequence.correct == 1);
    CHECK(sequence.generated_text.find(sequence.answer) != std::string::npos);
    REQUIRE(sequence.text_offsets.size() == sequence.tokens.size() + 1);
    for (std::size_t t = 0; t < sequence.tokens.size(); ++t) {
        const auto begin = static_cast<std::size_t>(sequence.text_offsets[t]);
        const auto end = static_cast<std::size_t>(sequence.text_offsets[t + 1]);
        CHECK(sequence.text.substr(begin, end - begin) ==
              setting.tokenizer.bytes_of(sequence.tokens[t]));
    }
    const auto generated = static_cast<std::size_t>(sequence.generated());
    CHECK(sequence.top_logits == 20);
    REQUIRE(sequence.logits_top_ids.size() == generated * 20);
    for (std::size_t g = 0; g < generated; ++g) {
        const std::int32_t token =
            sequence.tokens[static_cast<std::size_t>(sequence.prompt_len) + g];
        CHECK(sequence.logits_top_ids[g * 20] == token);
        CHECK_FALSE(setting.tokenizer.is_special(token));
    }
    const Span answer = sequence.spans.back();
    CHECK(answer == Span{.kind = SpanKind::answer,
                         .begin = sequence.prompt_len,
                         .end = sequence.length(),
                         .group = 0});
}

TEST_CASE("An answer that was not asked for is not judged", "[tools][recording]") {
    Setting setting;
    const SequenceInfo sequence = setting.record({.max_new_tokens = 0}).sequence();
    CHECK(sequence.generated() == 0);
    CHECK(sequence.correct == -1);
    CHECK(sequence.spans.back().kind == SpanKind::question);
}

TEST_CASE("Recorded attention rows agree with column sums, outputs and causality",
          "[tools][recording]") {
    Setting setting;
    const Recording recording = setting.record({.context_queries = -1, .attention = true});
    const auto tokens = static_cast<std::size_t>(recording.sequence().length());
    for (const std::int32_t layer : {0, 3, 5}) {
        const LayerData data = recording.layer(layer);
        REQUIRE(data.attention.size() == 8 * tokens * tokens);
        for (std::size_t head = 0; head < 8; ++head) {
            const float* rows = data.attention.data() + head * tokens * tokens;
            std::vector<double> columns(tokens, 0.0);
            double output_error = 0.0;
            for (std::size_t i = 0; i < tokens; ++i) {
                double sum = 0.0;
                double output = 0.0;
                for (std::size_t j = 0; j < tokens; ++j) {
                    const double share = static_cast<double>(rows[i * tokens + j]);
                    sum += share;
                    output +=
                        share * static_cast<double>(at(data.values, (head / 2 * tokens + j) * 64));
                    if (i < 96)
                        columns[j] += share;
                    if (j > i)
                        REQUIRE(share == 0.0);
                }
                REQUIRE(sum == Approx(1.0).margin(1e-4));
                const double recorded =
                    static_cast<double>(at(data.outputs, (head * tokens + i) * 64));
                output_error = std::max(output_error, std::abs(output - recorded));
            }
            CHECK(output_error < 1e-4);
            for (std::size_t j = 0; j < tokens; ++j)
                REQUIRE(static_cast<double>(at(data.column_sums, head * tokens + j)) ==
                        Approx(columns[j]).margin(1e-3));
        }
    }
}
