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

namespace {

enum class Rows { context, all };

/// What every token of the context got from the queries of the context, or from all that are
/// recorded: whole rows of probabilities, from keys and queries alone.
reference::Row sums_of(const Layer& layer, std::int32_t kv_head, Rows rows) {
    const Shape& shape = layer.shape;
    const Position queries = rows == Rows::all ? layer.length : layer.context_len;
    reference::Row sums(static_cast<std::size_t>(layer.context_len));
    for (std::int32_t g = kv_head * shape.group(); g < (kv_head + 1) * shape.group(); ++g)
        for (Position query = 0; query < queries; ++query) {
            reference::Row logits;
            for (Position key = 0; key <= query; ++key)
                logits.push_back(
                    shape.softmax_scale *
                    reference::dot(
                        layer.data.queries.data() + (g * layer.length + query) * shape.head_dim,
                        layer.data.keys.data() + (kv_head * layer.length + key) * shape.head_dim,
                        shape.head_dim));
            const reference::Row shares = reference::softmax(logits);
            for (std::size_t j = 0; j < std::min(sums.size(), shares.size()); ++j)
                sums[j] += shares[j];
        }
    return sums;
}

}  // namespace

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

TEST_CASE("h2o's global form agrees with its double-precision twin", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        compare(
            drawn,
            "h2o:variant=global_oracle",
            [&](const HeadView& head) { return sums_of(drawn.layer, head.id.head, Rows::all); },
            [](Position tokens) { return tokens / 2; });
    }
}

TEST_CASE("observed_attention agrees with its double-precision twin", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Case drawn(i);
        const Layer& layer = drawn.layer;
        const bool asked = drawn.source() == QuerySource::question;
        const double queries = asked ? layer.length : layer.context_len;
        compare(
            drawn,
            "observed_attention",
            [&](const HeadView& head) {
                reference::Row score =
                    sums_of(layer, head.id.head, asked ? Rows::all : Rows::context);
                for (std::size_t j = 0; j < score.size(); ++j)
                    score[j] /= (queries - static_cast<double>(j)) * layer.shape.group();
                return score;
            },
            [](Position) { return 0; });
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
