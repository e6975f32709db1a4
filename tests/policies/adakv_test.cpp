#include "tests/support/twin_case.hpp"
#include "tests/support/twins/allocation.hpp"

#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// Bases with and without entries that stay by rule, of raw scores that compare.
std::string base_of(int number) {
    const std::string bases[] = {"knorm",
                                 "keydiff",
                                 "snapkv:window=7,kernel=3,pool=max,group=before",
                                 "expected_attention:future=9,sinks=3"};
    return bases[number % 4];
}

/// An alpha whose multiples doubles hold well enough to be rounded.
std::string alpha_of(const Case& drawn) {
    const std::string alphas[] = {"0", "0.2", "0.25", "0.5", "0.75", "1"};
    return alphas[drawn.draw(80, 0, 5)];
}

/// What the base says of every head when `tokens` are kept.
reference::Table scores_of(const std::string& base, const Layer& layer, Position tokens) {
    const PolicyRun run = make_policy(base);
    const auto session = observed_session(*run.policy, {&layer, 1});
    reference::Table table;
    for (std::int32_t head = 0; head < layer.shape.kv_heads; ++head) {
        const std::vector<float> scores = session->scores({0, head}, {tokens, std::nullopt});
        table.emplace_back(scores.begin(), scores.end());
        if (scores.empty()) {
            // The window is the whole context, and its latest tokens stay by rule.
            table.back().assign(static_cast<std::size_t>(layer.context_len), NAN);
            std::fill_n(table.back().rbegin(), tokens, INFINITY);
        }
    }
    return table;
}

/// The entries that stay by rule and the best others, `tokens` in all.
std::vector<Position> best(const reference::Row& scores, Position tokens) {
    std::vector<Position> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    const auto score = [&](Position entry) {
        const double shown = scores[static_cast<std::size_t>(entry)];
        return std::isnan(shown) ? -INFINITY : shown;
    };
    std::stable_sort(
        order.begin(), order.end(), [&](Position a, Position b) { return score(a) > score(b); });
    order.resize(static_cast<std::size_t>(tokens));
    std::sort(order.begin(), order.end());
    return order;
}

}  // namespace

TEST_CASE("adakv shares out a layer as its double-precision twin does", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Position held = drawn.layer.context_len, tokens = drawn.draw(81, 1, held);
        const std::string base = base_of(i), alpha = alpha_of(drawn);
        const PolicyRun run = make_policy("adakv(" + base + "):alpha=" + alpha);
        const Decision decision = decide(*run.policy, {&drawn.layer, 1}, {tokens, std::nullopt});
        const reference::Table scores = scores_of(base, drawn.layer, tokens);
        const auto expected = reference::ada_tokens(scores, tokens, std::stod(alpha));
        double total = 0.0;
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            INFO("shape " << i << ": " << run.spec << " keeps " << tokens << " of " << held
                          << ", KV head " << head);
            const auto at = static_cast<std::size_t>(head);
            CHECK(decision[{0, head}] == best(scores[at], expected[at]));
            total += expected[at];
            if (alpha == "1")
                CHECK(expected[at] == tokens);
        }
        // What rounding and the safeguard's floor leave out, a token for each head at most.
        CHECK(std::abs(total - tokens * decision.kv_heads()) <= 1.5 * decision.kv_heads());
    }
}

TEST_CASE("adakv in the form of kvpress keeps what its double-precision twin keeps",
          "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Position held = drawn.layer.context_len;
        const Ratio ratio{drawn.draw(82, 1, 100), 100};
        const Limit limit{std::max(1, static_cast<Position>(ratio.floor_of(held))), ratio};
        const Position tokens = reference::kvpress_tokens(ratio, held);
        const std::string base = base_of(i), alpha = alpha_of(drawn);
        const PolicyRun run = make_policy("adakv(" + base + "):compat=kvpress,alpha=" + alpha);
        const Decision decision = decide(*run.policy, {&drawn.layer, 1}, limit);
        const auto expected = reference::ada_kept_kvpress(
            scores_of(base, drawn.layer, held), tokens, std::stod(alpha));
        std::size_t total = 0;
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            INFO("shape " << i << ": " << run.spec << " keeps " << tokens << " of " << held
                          << ", KV head " << head);
            CHECK(decision[{0, head}] == expected[static_cast<std::size_t>(head)]);
            total += decision[{0, head}].size();
        }
        CHECK(total == static_cast<std::size_t>(tokens * decision.kv_heads()));
    }
}

TEST_CASE("heads whose scores are alike share a layer evenly", "[policies][adakv]") {
    for (int i = 0; i < shapes; ++i) {
        Case drawn(i);
        Layer& layer = drawn.layer;
        const auto head = std::ssize(layer.data.keys) / layer.shape.kv_heads;
        for (std::int32_t other = 1; other < layer.shape.kv_heads; ++other)
            std::copy_n(layer.data.keys.begin(), head, layer.data.keys.begin() + other * head);
        const Position tokens = drawn.draw(83, 1, layer.context_len);
        for (const std::string compat : {"", ":compat=kvpress"}) {
            INFO("shape " << i << compat);
            const PolicyRun run = make_policy("adakv(knorm)" + compat);
            const Decision decision = decide(*run.policy, {&layer, 1}, {tokens, std::nullopt});
            for (std::int32_t other = 0; other < layer.shape.kv_heads; ++other)
                CHECK(std::abs(std::ssize(decision[{0, other}]) - tokens) <= 1);
        }
    }
}
