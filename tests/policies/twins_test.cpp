#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/policy_twins.hpp"
#include "tests/support/twin_case.hpp"

#include <algorithm>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

TEST_CASE("knorm agrees with its double-precision twin", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i)
        compare(Case(i), "knorm", reference::knorm, [](Position) { return 0; });
}

TEST_CASE("oracle agrees with its double-precision twin", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        compare(
            drawn,
            "oracle",
            [&](const HeadView& head) { return reference::oracle(head, drawn.layer.shape); },
            [](Position) { return 0; });
    }
}

TEST_CASE("h2o agrees with its double-precision twin", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        compare(
            drawn,
            "h2o",
            [&](const HeadView& head) { return reference::h2o(head, drawn.layer.shape); },
            [](Position tokens) { return tokens / 2; });
    }
}

TEST_CASE("tova agrees with its double-precision twin and keeps the same tokens in every head",
          "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Needs needs = make_policy("tova").policy->needs();
        const ContextViews views(drawn.layer, needs, drawn.source());
        const reference::Row mean = reference::tova(views.view(), drawn.layer.shape);
        compare(
            drawn,
            "tova",
            [&](const HeadView&) { return mean; },
            [](Position tokens) { return std::min(1, tokens); });
        const Decision decision = decide(
            *make_policy("tova").policy, {&drawn.layer, 1}, {1 + drawn.layer.context_len / 3, {}});
        for (std::int32_t head = 1; head < decision.kv_heads(); ++head)
            CHECK(decision[{0, head}] == decision[{0, 0}]);
    }
}

TEST_CASE("snapkv agrees with its double-precision twin in every variant", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const reference::SnapKv options{.window = static_cast<std::size_t>(drawn.draw(20, 1, 30)),
                                        .kernel = 1 + 2 * drawn.draw(21, 0, 4),
                                        .average = drawn.draw(22, 0, 1) == 0,
                                        .pool_first = drawn.draw(23, 0, 1) == 0};
        const std::string spec = "snapkv:window=" + std::to_string(options.window) +
                                 ",kernel=" + std::to_string(options.kernel) +
                                 ",pool=" + (options.average ? "avg" : "max") +
                                 ",group=" + (options.pool_first ? "after" : "before");
        compare(
            drawn,
            spec,
            [&](const HeadView& head) {
                return reference::snapkv(head, drawn.layer.shape, options);
            },
            [&](Position tokens) {
                return std::min(tokens, static_cast<Position>(options.window));
            });
    }
}

TEST_CASE("lagkv agrees with its double-precision twin in every partition", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Position lag = drawn.draw(30, 2, 12), sinks = drawn.draw(31, 0, 6);
        const PolicyRun run = make_policy("lagkv:lag=" + std::to_string(lag) +
                                          ",sinks=" + std::to_string(sinks) + ",v_ratio=0.5");
        const Ratio ratio{drawn.draw(32, 1, 99), 100};
        const Limit limit{
            std::max<Position>(1, static_cast<Position>(ratio.floor_of(drawn.layer.context_len))),
            ratio};
        ContextViews views(drawn.layer, run.policy->needs(), QuerySource::agnostic);
        const auto session = observed_session(*run.policy, {&drawn.layer, 1});
        const Decision decision = session->decide({}, limit);
        for (const HeadView& head : views.heads()) {
            const reference::Row twin = reference::lagkv(head, sinks, lag, 0.5);
            const std::vector<float> scores = session->scores(head.id, limit);
            REQUIRE(scores.size() >= twin.size());
            std::vector<Position> judged;
            for (const Position position : decision[head.id])
                if (position >= sinks && position < sinks + std::ssize(twin))
                    judged.push_back(position - sinks);
            CHECK(std::ssize(decision[head.id]) - std::ssize(judged) ==
                  drawn.layer.context_len - std::ssize(twin));
            for (std::ptrdiff_t begin = 0; begin < std::ssize(twin); begin += lag) {
                INFO("shape " << i << ", partition at " << begin);
                const reference::Row part(twin.begin() + begin, twin.begin() + begin + lag);
                const auto from = scores.begin() + sinks + begin;
                check_scores({from, from + lag}, part);
                std::vector<Position> kept;
                for (const Position entry : judged)
                    if (entry >= begin && entry < begin + lag)
                        kept.push_back(entry - static_cast<Position>(begin));
                check_kept(kept, part, lag, static_cast<Position>(ratio.floor_of(lag)), 0);
            }
        }
    }
}

TEST_CASE("scores and cuts stay with their twins beyond 512 tokens", "[policies][twin]") {
    for (int i = 0; i < 6; ++i) {
        const Case drawn(i, 513, 1100);
        const Shape& shape = drawn.layer.shape;
        const reference::SnapKv options{
            .window = 64, .kernel = 5, .average = true, .pool_first = true};
        compare(drawn, "knorm", reference::knorm, [](Position) { return 0; });
        compare(
            drawn,
            "oracle",
            [&](const HeadView& head) { return reference::oracle(head, shape); },
            [](Position) { return 0; });
        compare(
            drawn,
            "h2o",
            [&](const HeadView& head) { return reference::h2o(head, shape); },
            [](Position tokens) { return tokens / 2; });
        compare(
            drawn,
            "snapkv:window=64,kernel=5,pool=avg,group=after",
            [&](const HeadView& head) { return reference::snapkv(head, shape, options); },
            [](Position tokens) { return std::min<Position>(tokens, 64); });
    }
}
