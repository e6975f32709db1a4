#include "tests/support/twins/kvzip.hpp"

#include "tests/support/twin_case.hpp"

#include <algorithm>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 3,
                      .query_heads = 4,
                      .kv_heads = 2,
                      .head_dim = 12,
                      .hidden_size = 20,
                      .softmax_scale = 0.3};

std::vector<Layer> random_layers(Position context) {
    return {random_layer(shape, 0, context, context + 3, Philox(1)),
            random_layer(shape, 1, context, context + 3, Philox(2)),
            random_layer(shape, 2, context, context + 3, Philox(3))};
}

std::int64_t kept_in(const Decision& decision, std::int32_t layer) {
    std::int64_t kept = 0;
    for (std::int32_t head = 0; head < decision.kv_heads(); ++head)
        kept += std::ssize(decision[{layer, head}]);
    return kept;
}

}  // namespace

TEST_CASE("kvzip and kvzip+ agree with their double-precision twins", "[policies][twin]") {
    for (const bool plus : {false, true}) {
        const PolicyRun run = make_policy(plus ? "kvzip:plus=1" : "kvzip");
        for (int i = 0; i < shapes; ++i) {
            const Case drawn(i, 1, 24);
            const ContextViews views(drawn.layer, run.policy->needs(), QuerySource::agnostic);
            const LayerView layer = views.view();
            const auto session = observed_session(*run.policy, {&drawn.layer, 1});
            for (const HeadView& head : layer.heads) {
                INFO("shape " << i << ", KV head " << head.id.head << ", plus " << plus);
                const std::vector<float> scores = session->scores(head.id, {1, {}});
                check_scores(scores, reference::kvzip(layer, head, drawn.layer.shape, plus));
                for (std::size_t j = 0; j < scores.size(); ++j) {
                    CHECK(std::isinf(scores[j]) == (j < 4));
                    CHECK((plus || j < 4 || (scores[j] >= 0.0f && scores[j] <= 1.0f)));
                }
            }
        }
    }
}

TEST_CASE("scores of kvzip are shares: between 0 and 1", "[policies][kvzip]") {
    const std::vector<Layer> layers = random_layers(90);
    const PolicyRun run = make_policy("kvzip");
    const auto session = observed_session(*run.policy, layers);
    for (std::int32_t layer = 0; layer < 3; ++layer)
        for (const float score : session->scores({layer, 1}, {1, {}}))
            CHECK((std::isinf(score) || (score >= 0.0f && score <= 1.0f)));
}

TEST_CASE("all layers and heads compete for one budget, of which as many fall as were to go",
          "[policies][kvzip]") {
    const std::vector<Layer> layers = random_layers(91);
    const PolicyRun run = make_policy("kvzip");
    const auto session = observed_session(*run.policy, layers);
    constexpr std::int64_t all = 3 * 2 * 91;
    for (int percent = 1; percent <= 100; ++percent) {
        const Limit limit = limit_of(std::to_string(percent) + "%", 91, shape);
        const Decision decision = session->decide({}, limit);
        CHECK(kept_in(decision, 0) + kept_in(decision, 1) + kept_in(decision, 2) ==
              all - all * (100 - percent) / 100);
        // No token that fell scores above one that stayed.
        float worst_kept = INFINITY, best_evicted = -INFINITY;
        for (std::int32_t layer = 0; layer < 3; ++layer)
            for (std::int32_t head = 0; head < 2; ++head) {
                const auto scores = session->scores({layer, head}, limit);
                const auto& kept = decision[{layer, head}];
                for (Position j = 0; j < 91; ++j) {
                    const bool is_kept = std::binary_search(kept.begin(), kept.end(), j);
                    float& bound = is_kept ? worst_kept : best_evicted;
                    const float score = scores[static_cast<std::size_t>(j)];
                    bound = is_kept ? std::min(bound, score) : std::max(bound, score);
                }
            }
        CHECK(worst_kept >= best_evicted);
    }
    CHECK(kept_in(session->decide({}, {10, {}}), 0) + kept_in(session->decide({}, {10, {}}), 1) +
              kept_in(session->decide({}, {10, {}}), 2) ==
          60);
}

TEST_CASE("layerwise, every layer keeps the same number of tokens", "[policies][kvzip]") {
    const std::vector<Layer> layers = random_layers(80);
    const PolicyRun run = make_policy("kvzip:layerwise=1");
    const Decision decision = decide(*run.policy, layers, {20, {}});
    for (std::int32_t layer = 0; layer < 3; ++layer)
        CHECK(kept_in(decision, layer) == 40);
}

TEST_CASE("what repeats one token with all its attention keeps that token", "[policies][kvzip]") {
    Layer layer = random_layer(shape, 0, 40, 42, Philox(4));
    // Row 5 of the first piece, query head 0: a query along the key of token 13.
    const float* key = layer.data.keys.data() + 13 * 12;
    for (std::size_t i = 0; i < 12; ++i)
        layer.data.replay_queries[5 * 12 + i] = 50.0f * key[i];
    double total = 0.0;
    for (std::size_t j = 0; j < 20; ++j)
        total += std::exp(0.3 * reference::dot(layer.data.replay_queries.data() + 5 * 12,
                                               layer.data.keys.data() + j * 12,
                                               12) -
                          0.3 * 50.0 * reference::dot(key, key, 12));
    layer.data.replay_logsumexp[5] =
        static_cast<float>(0.3 * 50.0 * reference::dot(key, key, 12) + std::log(total));
    const PolicyRun run = make_policy("kvzip");
    const auto session = observed_session(*run.policy, {&layer, 1});
    CHECK(session->scores({0, 0}, {5, {}})[13] == Approx(1.0 / total).epsilon(1e-3));
}
