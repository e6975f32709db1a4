#include "tests/support/twins/expected_attention.hpp"

#include "policies/parts/query_distribution.hpp"
#include "tests/support/twin_case.hpp"

#include <numbers>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

SessionContext context_of(const Layer& layer) {
    return {.shape = layer.shape,
            .rotation = layer.rotation,
            .context_len = layer.context_len,
            .prompt_len = layer.length};
}

std::string spec_of(const reference::ExpectedAttention& options) {
    return "expected_attention:future=" + std::to_string(options.future) +
           ",sinks=" + std::to_string(options.sinks) +
           ",covariance=" + std::to_string(options.covariance ? 1 : 0) +
           ",vnorm=" + std::to_string(options.vnorm ? 1 : 0) +
           ",epsilon=" + std::to_string(options.epsilon);
}

/// Two numbers, independent and normal (Box and Muller).
std::array<double, 2> draw_normal(const Philox& random, std::uint64_t index) {
    const double radius = std::sqrt(-2.0 * std::log(random.uniform(2 * index)));
    const double angle = 2.0 * std::numbers::pi * random.uniform(2 * index + 1);
    return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace

TEST_CASE("expected_attention agrees with its double-precision twin in every variant",
          "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i, 1, 40);
        const reference::ExpectedAttention options{
            .future = drawn.draw(40, 1, 9),
            .sinks = drawn.draw(41, 0, 6),
            .covariance = drawn.draw(42, 0, 1) == 0,
            .vnorm = drawn.draw(43, 0, 1) == 0,
            .epsilon = drawn.draw(44, 0, 1) == 0 ? 0.0 : 0.01};
        compare(
            drawn,
            spec_of(options),
            [&](const HeadView& head) {
                reference::Row score =
                    reference::expected_attention(head, context_of(drawn.layer), options);
                // kept by rule, the earlier first
                for (std::size_t s = 0;
                     s < score.size() && s < static_cast<std::size_t>(options.sinks);
                     ++s)
                    score[s] = 10.0 * stays * (1.0 - 0.01 * static_cast<double>(s));
                return score;
            },
            [](Position) { return 0; });
    }
}

TEST_CASE("without covariance, one position ahead, it is the attention of the mean query there",
          "[policies][expected_attention]") {
    const Shape shape{
        .layers = 1, .query_heads = 2, .kv_heads = 1, .head_dim = 12, .softmax_scale = 0.3};
    const Layer layer = random_layer(shape, 0, 50, 52, Philox(8));
    const PolicyRun run = make_policy("expected_attention:covariance=0,future=1,vnorm=0,sinks=3");
    const ContextViews views(layer, run.policy->needs(), QuerySource::agnostic);
    const HeadView& head = views.view().heads[0];
    std::vector<double> expected(50);
    for (Eigen::Index g = 0; g < 2; ++g) {
        const float* mean = head.statistics.mean.row(g).data();
        const reference::Row query = reference::turned({mean, mean + 12}, layer.rotation, 50, 1.0);
        reference::Row logits;
        for (Eigen::Index j = 3; j < 50; ++j) {
            double logit = 0.0;
            for (std::size_t i = 0; i < 12; ++i)
                logit += 0.3 * query[i] *
                         static_cast<double>(head.keys(j, static_cast<Eigen::Index>(i)));
            logits.push_back(logit);
        }
        const reference::Row shares = reference::softmax(logits);
        for (std::size_t j = 3; j < 50; ++j)
            expected[j] += shares[j - 3] / 2.0;
    }
    check_scores(observed_session(*run.policy, {&layer, 1})->scores({0, 0}, {10, {}}), expected);
}

TEST_CASE("the expected logit is the mean of exp over queries drawn from the distribution",
          "[policies][expected_attention]") {
    // Two channels, one position ahead: q = R(7) (m + L n), n normal.
    const Rotation rotation{.rotary_dim = 2, .inv_freq = {0.4}};
    const std::array<float, 2> mean{0.5f, -0.3f};
    constexpr double a = 0.8, b = 0.3, c = 0.5;  // L = (a 0; b c)
    const std::array<float, 4> covariance{static_cast<float>(a * a),
                                          static_cast<float>(a * b),
                                          static_cast<float>(a * b),
                                          static_cast<float>(b * b + c * c)};
    const QueryStatistics statistics{.mean = view(mean.data(), 1, 2),
                                     .covariance = view(covariance.data(), 2, 2)};
    constexpr double scale = 0.7, kx = 0.9, ky = -0.6;
    const ExpectedQuery query = AverageTurn(rotation, 7, 1).expected(statistics, 0, scale);
    const auto at = [&](std::size_t i) { return static_cast<double>(query.quadratic[i]); };
    const double logit = kx * (at(0) * kx + at(1) * ky + static_cast<double>(query.linear[0])) +
                         ky * (at(2) * kx + at(3) * ky + static_cast<double>(query.linear[1]));
    constexpr std::uint64_t draws = 400000;
    double sum = 0.0;
    for (std::uint64_t i = 0; i < draws; ++i) {
        const auto [x, y] = draw_normal(Philox(12), i);
        const reference::Row q = reference::turned(
            {static_cast<double>(mean[0]) + a * x, static_cast<double>(mean[1]) + b * x + c * y},
            rotation,
            7,
            1.0);
        sum += std::exp(scale * (q[0] * kx + q[1] * ky));
    }
    CHECK(sum / static_cast<double>(draws) == Approx(std::exp(logit)).epsilon(0.005));
}

TEST_CASE("sinks stay, and their queries do not count", "[policies][expected_attention]") {
    const Shape shape{
        .layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 8, .softmax_scale = 0.4};
    Layer layer = random_layer(shape, 0, 60, 62, Philox(2));
    const PolicyRun run = make_policy("expected_attention:sinks=6");
    const Decision before = decide(*run.policy, {&layer, 1}, {20, {}});
    for (Position sink = 0; sink < 6; ++sink)
        CHECK(before[{0, 0}][static_cast<std::size_t>(sink)] == sink);
    std::fill_n(layer.data.queries.begin(), 6 * 8, 100.0f);
    CHECK(decide(*run.policy, {&layer, 1}, {20, {}}) == before);
}
