#include "tools/second_pass.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/reference.hpp"
#include "tools/recording.hpp"
#include "tools/workload/workload.hpp"

#include <cmath>
#include <filesystem>
#include <memory>

using namespace kvtape;
using namespace kvtape::workload;

namespace {

/// The needle model with one prompt.
struct Setting {
    std::filesystem::path folder = std::filesystem::path(KVTAPE_SOURCE_DIR) / "data/needle-model";
    model::Tokenizer tokenizer = model::Tokenizer::load(folder / "tokenizer.json");
    std::unique_ptr<model::Backend> backend = model::cpu_backend(ElementType::float32, 2);
    model::Transformer model = model::Transformer::load(folder, *backend);

    Prompt prompt(Position length) const {
        return tokenize(make_document(Lexicon::load(folder / "lexicon.json"),
                                      tokenizer,
                                      parse_task("passkey:digits=5"),
                                      {.length = length, .depths = {}, .seed = 0},
                                      0),
                        tokenizer);
    }
};

}  // namespace

TEST_CASE("A second pass gives the queries and normalisers of the context read again",
          "[tools][second_pass]") {
    Setting setting;
    const Prompt prompt = setting.prompt(96);
    const Recording recording(setting.model,
                              setting.tokenizer,
                              prompt,
                              {.context_queries = 10, .replay = true, .threads = 2});
    // The same text as one prompt.
    std::vector<std::int32_t> tokens(prompt.tokens.begin(), prompt.tokens.begin() + 96);
    for (const std::int32_t id :
         setting.tokenizer.encode("\n\nRepeat the previous context exactly.\n\n").ids)
        tokens.push_back(id);
    tokens.insert(tokens.end(), prompt.tokens.begin(), prompt.tokens.begin() + 96);
    QueryRecorder queries(setting.model.shape(), 0);
    model::KvCache cache(setting.model, 0);
    setting.model.forward(tokens, cache, &queries);

    const auto all = static_cast<Eigen::Index>(tokens.size()), rows = all - 96;
    REQUIRE(recording.sequence().replay_chunks ==
            std::vector<ReplayChunk>{{0, 96, 0, static_cast<std::int32_t>(rows)}});
    for (const std::int32_t layer : {0, 5}) {
        const LayerData data = recording.layer(layer);
        LayerData straight;
        queries.fill(layer, straight);
        REQUIRE(std::ssize(data.replay_queries) == 8 * rows * 64);
        REQUIRE(std::ssize(data.replay_logsumexp) == 8 * rows);
        REQUIRE(std::ssize(data.replay_hidden_norm) == rows);
        for (Eigen::Index head = 0; head < 8; ++head)
            for (Eigen::Index row = 0; row < rows; ++row) {
                const float* query = data.replay_queries.data() + (head * rows + row) * 64;
                const float* same = straight.queries.data() + (head * all + 96 + row) * 64;
                for (Eigen::Index c = 0; c < 64; ++c)
                    REQUIRE(query[c] == Approx(same[c]).margin(1e-3));
                // One piece: it and what is read again are all that the row sees.
                REQUIRE(data.replay_logsumexp[static_cast<std::size_t>(head * rows + row)] ==
                        Approx(straight.logsumexp[static_cast<std::size_t>(head * all + 96 + row)])
                            .margin(1e-3));
            }
        for (const float norm : data.replay_hidden_norm)
            CHECK(norm > 0.0f);
    }
}

TEST_CASE("A second pass changes nothing else of a recording", "[tools][second_pass]") {
    Setting setting;
    const Prompt prompt = setting.prompt(96);
    const Recording with(setting.model, setting.tokenizer, prompt, {.replay = true, .threads = 2});
    const Recording without(setting.model, setting.tokenizer, prompt, {.threads = 2});
    CHECK(with.sequence().tokens == without.sequence().tokens);
    for (const std::int32_t layer : {0, 3}) {
        const LayerData a = with.layer(layer), b = without.layer(layer);
        CHECK(a.keys == b.keys);
        CHECK(a.values == b.values);
        CHECK(a.queries == b.queries);
        CHECK(a.column_sums == b.column_sums);
        CHECK(b.replay_queries.empty());
    }
}

TEST_CASE("A long context is repeated in pieces, whose rows see sinks, piece and repetition alone",
          "[tools][second_pass][slow]") {
    Setting setting;
    const Prompt prompt = setting.prompt(SecondPass::piece + 60);
    const Recording recording(setting.model,
                              setting.tokenizer,
                              prompt,
                              {.max_new_tokens = 0, .replay = true, .threads = 2});
    const auto& chunks = recording.sequence().replay_chunks;
    REQUIRE(chunks.size() == 2);
    CHECK(chunks[1].begin == SecondPass::piece);
    CHECK(chunks[1].end == SecondPass::piece + 60);
    CHECK(chunks[1].first == chunks[0].count);
    const LayerData data = recording.layer(0);
    const Eigen::Index tokens = recording.sequence().length();
    const Eigen::Index rows = recording.sequence().replayed();
    // The first row of the second piece sees sinks, piece and itself.
    const float* query = data.replay_queries.data() + chunks[1].first * 64;
    double seen = 0.0;
    for (Eigen::Index j = 0; j < tokens; ++j)
        if (j < 4 || (j >= chunks[1].begin && j < chunks[1].end))
            seen += std::exp(setting.model.shape().softmax_scale *
                             reference::dot(query, data.keys.data() + j * 64, 64));
    const double all = std::exp(
        static_cast<double>(data.replay_logsumexp[static_cast<std::size_t>(chunks[1].first)]));
    CHECK(rows == chunks[1].first + chunks[1].count);
    CHECK(seen < all);
    CHECK(seen > 0.0);
}
