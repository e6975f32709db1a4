#include "tests/support/twin_case.hpp"
#include "tests/support/twins/allocation.hpp"

#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// Minus the cosine of every key to the mean direction of all.
reference::Row keydiff(const HeadView& head) {
    const auto dim = static_cast<std::size_t>(head.keys.cols());
    reference::Table directions;
    reference::Row mean(dim);
    for (Eigen::Index j = 0; j < head.keys.rows(); ++j) {
        const float* key = head.keys.row(j).data();
        const double length = std::sqrt(reference::dot(key, key, head.keys.cols()));
        directions.emplace_back();
        for (std::size_t c = 0; c < dim; ++c) {
            directions.back().push_back(length > 0.0 ? static_cast<double>(key[c]) / length : 0.0);
            mean[c] += directions.back()[c] / static_cast<double>(head.keys.rows());
        }
    }
    const double length =
        std::sqrt(std::inner_product(mean.begin(), mean.end(), mean.begin(), 0.0));
    reference::Row score;
    for (const reference::Row& direction : directions)
        score.push_back(-std::inner_product(direction.begin(), direction.end(), mean.begin(), 0.0) /
                        length);
    return score;
}

}  // namespace

TEST_CASE("keydiff agrees with its double-precision twin", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        compare(
            drawn, "keydiff", keydiff, [](Position) { return 0; }, 1e-5);
    }
    for (int i = 0; i < 6; ++i) {
        // So many directions may nearly cancel, which leaves fewer digits of their mean.
        const Case drawn(i, 513, 1100);
        compare(
            drawn, "keydiff", keydiff, [](Position) { return 0; }, 1e-4);
    }
}

TEST_CASE("keydiff does not see how long keys are", "[policies][keydiff]") {
    const PolicyRun run = make_policy("keydiff");
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        Layer scaled = drawn.layer;
        const auto dim = static_cast<std::size_t>(scaled.shape.head_dim);
        // Powers of two: nothing is rounded.
        for (std::size_t at = 0; at < scaled.data.keys.size(); ++at)
            scaled.data.keys[at] *=
                std::ldexp(1.0f, static_cast<int>(drawn.random.below(2000000 + at / dim, 9)) - 4);
        const auto before = observed_session(*run.policy, {&drawn.layer, 1});
        const auto after = observed_session(*run.policy, {&scaled, 1});
        for (std::int32_t head = 0; head < scaled.shape.kv_heads; ++head) {
            INFO("shape " << i << ", KV head " << head);
            CHECK(before->scores({0, head}, {1, {}}) == after->scores({0, head}, {1, {}}));
        }
    }
}

TEST_CASE("keys that are all the same tie under keydiff, and the earliest stay",
          "[policies][keydiff]") {
    const PolicyRun run = make_policy("keydiff");
    for (int i = 0; i < shapes; ++i) {
        Case drawn(i);
        Layer& layer = drawn.layer;
        const std::ptrdiff_t dim = layer.shape.head_dim;
        for (std::ptrdiff_t row = 0; row < std::ssize(layer.data.keys) / dim; ++row)
            std::copy_n(layer.data.keys.begin() + row / layer.length * layer.length * dim,
                        dim,
                        layer.data.keys.begin() + row * dim);
        const Position tokens = drawn.draw(84, 1, layer.context_len);
        const auto session = observed_session(*run.policy, {&layer, 1});
        const std::vector<float> scores = session->scores({0, 0}, {1, {}});
        INFO("shape " << i);
        CHECK(std::count(scores.begin(), scores.end(), scores[0]) == std::ssize(scores));
        std::vector<Position> first(static_cast<std::size_t>(tokens));
        std::iota(first.begin(), first.end(), 0);
        const Decision decision = session->decide({}, {tokens, {}});
        CHECK(decision[{0, 0}] == first);
    }
}

TEST_CASE("under compat=kvpress a ratio keeps what the doubles of kvpress leave",
          "[policies][twin]") {
    const std::string specs[] = {"keydiff",
                                 "knorm",
                                 "tova",
                                 "observed_attention",
                                 "snapkv:window=5",
                                 "expected_attention:future=9",
                                 "criticalkv(observed_attention)"};
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const std::string& spec = specs[i % 7];
        const Position held = drawn.layer.context_len;
        const Ratio ratio{drawn.draw(85, 1, 100), 100};
        const Position floor = std::max(1, static_cast<Position>(ratio.floor_of(held)));
        const Position tokens = reference::kvpress_tokens(ratio, held);
        const std::string compat =
            spec + (spec.find(':') == std::string::npos ? ":" : ",") + "compat=kvpress";
        INFO("shape " << i << ": " << compat << " at " << ratio.numerator << " % of " << held);
        CHECK(decide(*make_policy(compat).policy, {&drawn.layer, 1}, {floor, ratio}) ==
              decide(*make_policy(spec).policy, {&drawn.layer, 1}, {tokens, std::nullopt}));
    }
}
