#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/policy_twins.hpp"
#include "tests/support/twin_case.hpp"

#include <algorithm>
#include <numeric>
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

TEST_CASE("h2o's variants agree with their double-precision twins", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Position context = drawn.layer.context_len;
        const auto queries = [&](const HeadView& head) {
            return static_cast<double>(context) +
                   static_cast<double>(head.observed.positions.size());
        };
        const Position kept = drawn.draw(60, 0, 20);
        compare(
            drawn,
            "h2o:variant=factory,recent=" + std::to_string(kept),
            [&](const HeadView& head) { return reference::h2o(head, drawn.layer.shape); },
            [&](Position tokens) { return std::min(tokens, kept); });
        compare(
            drawn,
            "h2o:variant=normalised,grace=" + std::to_string(kept),
            [&](const HeadView& head) {
                reference::Row score = reference::h2o(head, drawn.layer.shape);
                for (std::size_t t = 0; t < score.size(); ++t)
                    score[t] /= queries(head) - static_cast<double>(t);
                return score;
            },
            [&](Position tokens) { return std::min(tokens, kept); });
        compare(
            drawn,
            "h2o:variant=value_norm",
            [&](const HeadView& head) {
                reference::Row score = reference::h2o(head, drawn.layer.shape);
                double total = 0.0;
                for (std::size_t t = 0; t < score.size(); ++t) {
                    const float* value = head.values.row(static_cast<Eigen::Index>(t)).data();
                    score[t] *= std::sqrt(reference::dot(value, value, head.values.cols()));
                    total += score[t];
                }
                for (double& weighed : score)
                    weighed *= queries(head) / total;
                return score;
            },
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
                                        .pool_first = drawn.draw(23, 0, 1) == 0,
                                        .add_votes = drawn.draw(24, 0, 1) == 0,
                                        .reduce = "asm"[drawn.draw(25, 0, 2)]};
        const std::string reduce = options.reduce == 'a'   ? "mean"
                                   : options.reduce == 's' ? "sum"
                                                           : "max";
        const std::string spec = "snapkv:window=" + std::to_string(options.window) +
                                 ",kernel=" + std::to_string(options.kernel) +
                                 ",pool=" + (options.average ? "avg" : "max") +
                                 ",group=" + (options.pool_first ? "after" : "before") +
                                 ",votes=" + (options.add_votes ? "sum" : "mean") +
                                 ",reduce=" + reduce;
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
        const bool local = drawn.draw(33, 0, 3) == 0;
        const PolicyRun run =
            make_policy("lagkv:lag=" + std::to_string(lag) + ",sinks=" + std::to_string(sinks) +
                        ",v_ratio=0.5" + (local ? ",score=local" : ""));
        const Ratio ratio{drawn.draw(32, 1, 99), 100};
        const Limit limit{
            std::max<Position>(1, static_cast<Position>(ratio.floor_of(drawn.layer.context_len))),
            ratio};
        ContextViews views(drawn.layer, run.policy->needs(), QuerySource::agnostic);
        const auto session = observed_session(*run.policy, {&drawn.layer, 1});
        const Decision decision = session->decide({}, limit);
        for (const HeadView& head : views.heads()) {
            const reference::Row twin = reference::lagkv(head, sinks, lag, 0.5, local);
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

TEST_CASE("snapkv decides the same by the sum of its votes and by their mean",
          "[policies][snapkv]") {
    const PolicyRun mean = make_policy("snapkv:window=8");
    const PolicyRun sum = make_policy("snapkv:window=8,votes=sum,reduce=sum");
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i, 8);
        // A power of two of query heads: the means are exact multiples of the sums.
        const std::int32_t group = drawn.layer.shape.group();
        if (group == 3)
            continue;
        INFO("shape " << i);
        const Limit limit{drawn.draw(9, 1, drawn.layer.context_len), std::nullopt};
        CHECK(decide(*mean.policy, {&drawn.layer, 1}, limit) ==
              decide(*sum.policy, {&drawn.layer, 1}, limit));
    }
}

TEST_CASE("h2o's scores add up to the number of queries, with and without values",
          "[policies][h2o]") {
    for (const char* spec : {"h2o", "h2o:variant=value_norm"}) {
        const PolicyRun run = make_policy(spec);
        for (int i = 0; i < shapes; ++i) {
            const Case drawn(i);
            const auto session = observed_session(*run.policy, {&drawn.layer, 1});
            const std::vector<float> scores = session->scores({0, 0}, {1, std::nullopt});
            const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
            const double heads = std::string(spec) == "h2o" ? drawn.layer.shape.group() : 1;
            INFO(spec << ", shape " << i);
            CHECK(sum == Approx(heads * drawn.layer.context_len).epsilon(1e-5));
        }
    }
}
