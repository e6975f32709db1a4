#include "tests/support/twin_case.hpp"

#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

/// Properties that seeds.md and baselines.md name, on layers of random shape.
namespace {

/// `layer` with its KV heads, and the query heads that read them, in the opposite order.
Layer reversed_heads(const Layer& layer) {
    Layer reversed = layer;
    const auto kv_heads = static_cast<std::ptrdiff_t>(layer.shape.kv_heads);
    for (std::vector<float> LayerData::*tensor : {&LayerData::keys,
                                                  &LayerData::values,
                                                  &LayerData::queries,
                                                  &LayerData::logsumexp,
                                                  &LayerData::outputs,
                                                  &LayerData::column_sums}) {
        const std::vector<float>& from = layer.data.*tensor;
        const std::ptrdiff_t size = std::ssize(from) / kv_heads;
        for (std::ptrdiff_t head = 0; head < kv_heads; ++head)
            std::copy_n(from.begin() + head * size,
                        size,
                        (reversed.data.*tensor).begin() + (kv_heads - 1 - head) * size);
    }
    return reversed;
}

double length_of(const float* row, Eigen::Index dim) {
    return std::sqrt(reference::dot(row, row, dim));
}

}  // namespace

TEST_CASE("turning keys to another position leaves knorm's scores as they are",
          "[policies][knorm]") {
    const PolicyRun run = make_policy("knorm");
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        Layer turned = drawn.layer;
        const std::ptrdiff_t dim = turned.shape.head_dim;
        const Position by = drawn.draw(90, 1, 100000);
        for (auto row = turned.data.keys.begin(); row != turned.data.keys.end(); row += dim) {
            const std::vector<double> to =
                reference::turned({row, row + dim}, turned.rotation, by, 1.0);
            std::transform(
                to.begin(), to.end(), row, [](double x) { return static_cast<float>(x); });
        }
        const auto before = observed_session(*run.policy, {&drawn.layer, 1});
        const auto after = observed_session(*run.policy, {&turned, 1});
        INFO("shape " << i);
        const std::vector<float> scores = before->scores({0, 0}, {1, {}});
        check_scores(after->scores({0, 0}, {1, {}}), {scores.begin(), scores.end()});
    }
}

TEST_CASE("heads in another order keep what they kept", "[policies][contract]") {
    const std::string specs[] = {"knorm",
                                 "keydiff",
                                 "lagkv:lag=7,sinks=3",
                                 "lagkv:lag=7,compat=kvpress",
                                 "snapkv:window=6",
                                 "h2o",
                                 "observed_attention",
                                 "r_kv",
                                 "dropkv:window=4",
                                 "ems:window=5,tau=0.2",
                                 "oracle",
                                 "oracle_output",
                                 "finch",
                                 "streaming_llm"};
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const PolicyRun run = make_policy(specs[static_cast<std::size_t>(i) % std::size(specs)]);
        const Layer reversed = reversed_heads(drawn.layer);
        const Limit limit{drawn.draw(91, 1, drawn.layer.context_len), std::nullopt};
        const Decision before = decide(*run.policy, {&drawn.layer, 1}, limit);
        const Decision after = decide(*run.policy, {&reversed, 1}, limit);
        for (std::int32_t head = 0; head < before.kv_heads(); ++head) {
            INFO("shape " << i << ": " << run.spec << ", KV head " << head);
            const HeadId mirrored{0, before.kv_heads() - 1 - head};
            CHECK(after[mirrored] == before[{0, head}]);
            if (before.merging() == Merging::yes)
                CHECK(after.merges(mirrored) == before.merges({0, head}));
        }
    }
}

TEST_CASE("no policy keeps more of the future's attention than the oracle", "[policies][oracle]") {
    const std::string specs[] = {"random",
                                 "streaming_llm",
                                 "knorm",
                                 "keydiff",
                                 "tova",
                                 "h2o",
                                 "observed_attention",
                                 "snapkv:window=6",
                                 "r_kv",
                                 "finch",
                                 "oracle_output",
                                 "expected_attention:future=9"};
    const PolicyRun oracle = make_policy("oracle");
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const PolicyRun run = make_policy(specs[static_cast<std::size_t>(i) % std::size(specs)]);
        const Limit limit{drawn.draw(92, 1, drawn.layer.context_len), std::nullopt};
        const Decision best = decide(*oracle.policy, {&drawn.layer, 1}, limit);
        const Decision other = decide(*run.policy, {&drawn.layer, 1}, limit);
        ContextViews views(drawn.layer, oracle.policy->needs(), QuerySource::oracle);
        for (const HeadView& head : views.heads()) {
            const reference::Row shares = reference::oracle(head, drawn.layer.shape);
            const auto mass = [&](const Decision& decision) {
                double sum = 0.0;
                for (const Position position : decision[head.id])
                    sum += shares[static_cast<std::size_t>(position)];
                return sum;
            };
            INFO("shape " << i << ": " << run.spec << " keeps " << limit.tokens);
            REQUIRE(other[head.id].size() == best[head.id].size());
            CHECK(mass(other) <= mass(best) * (1.0 + 1e-5));
        }
    }
}

TEST_CASE("snapkv's average over neighbours and over the group may change places",
          "[policies][snapkv]") {
    const PolicyRun after = make_policy("snapkv:window=6,pool=avg,group=after");
    const PolicyRun before = make_policy("snapkv:window=6,pool=avg,group=before");
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i, 7);
        INFO("shape " << i);
        const std::vector<float> scores =
            observed_session(*after.policy, {&drawn.layer, 1})->scores({0, 0}, {1, {}});
        const std::vector<float> others =
            observed_session(*before.policy, {&drawn.layer, 1})->scores({0, 0}, {1, {}});
        REQUIRE(scores.size() == others.size());
        check_scores({others.begin(), others.end() - 6}, {scores.begin(), scores.end() - 6});
    }
}

TEST_CASE("what ems merges lies between its members, and nothing else moves", "[policies][ems]") {
    int merged = 0;
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i, 20);
        const Layer& layer = drawn.layer;
        const Eigen::Index dim = layer.shape.head_dim;
        const PolicyRun run = make_policy("ems:window=5,tau=0." + std::to_string(i % 5));
        const Decision decision =
            decide(*run.policy, {&layer, 1}, {drawn.draw(93, 6, layer.context_len), std::nullopt});
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            const Merges& merges = decision.merges({0, head});
            const auto row = [&](const std::vector<float>& tensor, Position token) {
                return tensor.data() + (std::int64_t{head} * layer.length + token) * dim;
            };
            for (std::size_t at = 0; at < merges.changed.size(); ++at, ++merged) {
                INFO("shape " << i << ", KV head " << head << ", token " << merges.changed[at]);
                CHECK(merges.changed[at] < layer.context_len - 5);
                std::vector<Position> members = {merges.changed[at]};
                for (const Absorbed& pair : merges.absorbed)
                    if (pair.into == merges.changed[at])
                        members.push_back(pair.from);
                REQUIRE(members.size() > 1);
                const auto first = at * static_cast<std::size_t>(dim);
                double shortest = INFINITY, longest = 0.0;
                std::vector<float> low(static_cast<std::size_t>(dim), INFINITY);
                std::vector<float> high(low.size(), -INFINITY);
                for (const Position member : members) {
                    const double own = length_of(row(layer.data.keys, member), dim);
                    shortest = std::min(shortest, own);
                    longest = std::max(longest, own);
                    for (std::size_t c = 0; c < low.size(); ++c) {
                        low[c] = std::min(low[c], row(layer.data.values, member)[c]);
                        high[c] = std::max(high[c], row(layer.data.values, member)[c]);
                    }
                }
                for (std::size_t c = 0; c < low.size(); ++c) {
                    CHECK(merges.values[first + c] >= low[c]);
                    CHECK(merges.values[first + c] <= high[c]);
                }
                const double length = length_of(merges.keys.data() + first, dim);
                CHECK(length >= shortest * (1.0 - 1e-6));
                CHECK(length <= longest * (1.0 + 1e-6));
            }
        }
    }
    CHECK(merged > shapes);
}
