#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/reference.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

constexpr int shapes = 1000;

/// A short sequence of random shape with the queries of every token.
struct OnlineCase {
    Philox random;
    SyntheticTrace trace;
    Position budget;

    explicit OnlineCase(int number)
        : random(static_cast<std::uint64_t>(number), 78),
          trace(size(), static_cast<std::uint64_t>(number)),
          budget(draw(5, 1, trace.sequence(0).context_len)) {}

    Position draw(std::uint64_t index, Position low, Position high) const {
        return low + static_cast<Position>(
                         random.below(index, static_cast<std::uint32_t>(high - low + 1)));
    }
    SyntheticSize size() const {
        Shape shape{.layers = 1, .kv_heads = draw(0, 1, 2), .head_dim = draw(1, 2, 16)};
        shape.query_heads = shape.kv_heads * draw(2, 1, 3);
        shape.softmax_scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
        const Position context = draw(3, 2, 40);
        return {.shape = shape,
                .sequences = 1,
                .context = context,
                .question = 2,
                .generated = 1,
                .window = context,
                .needle_begin = 0,
                .needle_end = 1};
    }

    /// The probabilities of the query of `token`, of query head `query_head`, over `seen`.
    std::vector<double> attention(std::int32_t query_head,
                                  Position token,
                                  const std::vector<Position>& seen) const {
        const Shape& shape = trace.info().shape;
        const LayerData& data = trace.layer(0, 0);
        const Position length = trace.sequence(0).length();
        std::vector<double> logits;
        for (const Position key : seen)
            logits.push_back(
                shape.softmax_scale *
                reference::dot(
                    data.queries.data() + (query_head * length + token) * shape.head_dim,
                    data.keys.data() + (query_head / shape.group() * length + key) * shape.head_dim,
                    shape.head_dim));
        return reference::softmax(logits);
    }
};

/// H2O (baselines.md B2) with an eviction after every token, attention over what is kept or, in the
/// step form, over everything before. Nothing where float32 cannot tell who goes.
std::optional<std::vector<Position>> token_by_token(const OnlineCase& test,
                                                    std::int32_t head,
                                                    bool step) {
    const std::int32_t group = test.trace.info().shape.group();
    const Position context = test.trace.sequence(0).context_len;
    const Position recent = step ? 1 : test.budget / 2;
    std::vector<double> sums(static_cast<std::size_t>(context));
    const auto sum_of = [&](Position token) { return sums[static_cast<std::size_t>(token)]; };
    std::vector<Position> held;
    for (Position token = 0; token < context; ++token) {
        held.push_back(token);
        const std::vector<Position> seen = step ? first_numbers(token + 1) : held;
        for (std::int32_t g = head * group; g < (head + 1) * group; ++g) {
            const std::vector<double> row = test.attention(g, token, seen);
            for (std::size_t i = 0; i < seen.size(); ++i)
                sums[static_cast<std::size_t>(seen[i])] += row[i];
        }
        if (std::ssize(held) <= test.budget)
            continue;
        // Of equal sums the latest goes.
        auto least = held.begin();
        for (auto at = held.begin(); at != held.end() - recent; ++at)
            least = sum_of(*at) <= sum_of(*least) ? at : least;
        for (auto at = held.begin(); at != held.end() - recent; ++at)
            if (at != least && sum_of(*at) - sum_of(*least) <= 2e-5 * sum_of(*at))
                return std::nullopt;
        held.erase(least);
    }
    return held;
}

}  // namespace

TEST_CASE("h2o token by token agrees with its double-precision twin", "[sim][h2o][twin]") {
    for (const bool step : {false, true}) {
        const std::string spec = std::string("h2o:variant=") + (step ? "step" : "online");
        const PolicyRun policy = make_policy(spec);
        int heads = 0, judged = 0;
        for (int i = 0; i < shapes; ++i) {
            const OnlineCase test(i);
            const ReplayTask task{.policy = &policy,
                                  .budgets = parse_budgets(std::to_string(test.budget) + 't')};
            const ReplayRequest request = request_for(test.trace);
            replay(request, {&task, 1}, [&](const Decided& decided) {
                const Decision kept = kept_of(request, decided);
                for (std::int32_t head = 0; head < kept.kv_heads(); ++head, ++heads) {
                    const auto expected = token_by_token(test, head, step);
                    if (!expected)
                        continue;
                    ++judged;
                    INFO(spec << ", shape " << i << ", KV head " << head << ": " << test.budget
                              << " of " << test.trace.sequence(0).context_len);
                    CHECK(kept[{0, head}] == *expected);
                }
            });
        }
        REQUIRE(heads > shapes);
        CHECK(judged >= heads - heads / 50);
    }
}

TEST_CASE("h2o token by token drops first what h2o over the whole prompt drops",
          "[sim][h2o][twin]") {
    int heads = 0, judged = 0;
    for (int i = 0; i < shapes; ++i) {
        OnlineCase test(i);
        test.budget = test.trace.sequence(0).context_len - 1;
        const ReplayRequest request = request_for(test.trace);
        const std::string budget = std::to_string(test.budget) + 't';
        const Decisions kept =
            decide(request, make_policies({"h2o", "h2o:variant=online"}), budget);
        for (std::int32_t head = 0; head < test.trace.info().shape.kv_heads; ++head, ++heads) {
            if (!token_by_token(test, head, false))
                continue;
            ++judged;
            INFO("shape " << i << ", KV head " << head);
            const Decision& whole = kept.at({"h2o", budget, 0});
            const Decision& online = kept.at({"h2o:variant=online", budget, 0});
            CHECK(online[{0, head}] == whole[{0, head}]);
        }
    }
    REQUIRE(heads > shapes);
    CHECK(judged >= heads - heads / 50);
}
