#include "tests/support/twin_case.hpp"
#include "tests/support/twins/allocation.hpp"
#include "tests/support/twins/lagkv.hpp"

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// A partition length, sinks and a kept share of random size.
struct LagCase {
    Case drawn;
    Position lag, sinks;
    Ratio ratio;

    explicit LagCase(int number)
        : drawn(number),
          lag(drawn.draw(30, 2, 12)),
          sinks(drawn.draw(31, 0, 6)),
          ratio{drawn.draw(32, 1, 99), 100} {}

    Position held() const { return drawn.layer.context_len; }
    Limit limit() const {
        return {std::max<Position>(1, static_cast<Position>(ratio.floor_of(held()))), ratio};
    }
    std::string spec(const std::string& more) const {
        return "lagkv:lag=" + std::to_string(lag) + ",sinks=" + std::to_string(sinks) + more;
    }
};

std::vector<Position> between(const std::vector<Position>& kept, Position begin, Position end) {
    std::vector<Position> found;
    for (const Position position : kept)
        if (position >= begin && position < end)
            found.push_back(position - begin);
    return found;
}

/// Every partition has the scores of the twin and keeps its share; the others are untouched.
void compare_partitions(const LagCase& test,
                        const std::string& more,
                        const reference::LagKv& options) {
    const PolicyRun run = make_policy(test.spec(more));
    ContextViews views(test.drawn.layer, run.policy->needs(), QuerySource::agnostic);
    const auto session = observed_session(*run.policy, {&test.drawn.layer, 1});
    const Decision decision = session->decide({}, test.limit());
    const auto kept_of_each = static_cast<Position>(test.ratio.floor_of(test.lag));
    for (const HeadView& head : views.heads()) {
        const reference::Row twin = reference::lagkv(head, test.sinks, test.lag, options);
        const auto judged = static_cast<Position>(twin.size());
        const std::vector<float> scores = session->scores(head.id, test.limit());
        const std::vector<Position>& kept = decision[head.id];
        REQUIRE(std::ssize(scores) == test.held());
        CHECK(std::ssize(between(kept, 0, test.sinks)) == std::min(test.sinks, test.held()));
        const Position window = test.sinks + judged;
        CHECK(std::ssize(between(kept, window, test.held())) == std::max(0, test.held() - window));
        for (Position begin = 0; begin < judged; begin += test.lag) {
            INFO(run.spec << ", partition at " << begin << " of " << test.held());
            const reference::Row part(twin.begin() + begin, twin.begin() + begin + test.lag);
            const auto from = scores.begin() + test.sinks + begin;
            check_scores({from, from + test.lag}, part);
            check_kept(between(kept, test.sinks + begin, test.sinks + begin + test.lag),
                       part,
                       test.lag,
                       kept_of_each,
                       0);
        }
    }
}

/// seeds.md 1.6: what all tokens of a context that is long enough score before ranks are taken.
reference::Row kvpress_scores(const LagCase& test, const HeadView& head) {
    const reference::Row judged = reference::lagkv(head, test.sinks, test.lag, {});
    reference::Row scores(head.positions.size(), 1.0);
    for (std::size_t i = 0; i < judged.size(); ++i)
        scores[static_cast<std::size_t>(test.sinks) + i] = judged[i] / 2.0;
    return scores;
}

/// What the rule alone keeps: sinks first, then the latest tokens.
std::vector<Position> sinks_and_latest(const LagCase& test, Position tokens) {
    const Position first = std::min(test.sinks, tokens);
    std::vector<Position> kept;
    for (Position position = 0; position < test.held(); ++position)
        if (position < first || position >= test.held() - (tokens - first))
            kept.push_back(position);
    return kept;
}

/// The rows of `positions` of one head: what it holds of a tensor.
std::vector<float> rows_of(const std::vector<float>& tensor,
                           const Layer& layer,
                           std::int32_t head,
                           const std::vector<Position>& positions) {
    std::vector<float> rows;
    const std::ptrdiff_t dim = layer.shape.head_dim;
    for (const Position position : positions) {
        const auto from = tensor.begin() + (std::ptrdiff_t{head} * layer.length + position) * dim;
        rows.insert(rows.end(), from, from + dim);
    }
    return rows;
}

/// How many of the latest tokens no partition is judged in.
Position window_of(const LagCase& test) {
    const Position free = test.held() - test.sinks;
    return test.held() < test.sinks + 2 * test.lag ? test.held() : test.lag + free % test.lag;
}

/// The places of the best `tokens` scores, earlier ones first among equals.
std::vector<Position> best(const std::vector<float>& scores, Position tokens) {
    std::vector<Position> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) {
        return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    order.resize(static_cast<std::size_t>(tokens));
    std::sort(order.begin(), order.end());
    return order;
}

}  // namespace

TEST_CASE("lagkv agrees with its double-precision twin in every partition", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i)
        compare_partitions(LagCase(i), ",v_ratio=0.5", {.value_ratio = 0.5});
}

TEST_CASE("localkv agrees with its double-precision twin in every partition", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i)
        compare_partitions(LagCase(i), ",score=local", {.by = reference::LagBy::itself});
}

TEST_CASE("l2kv agrees with its double-precision twin in every partition", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i)
        compare_partitions(LagCase(i), ",score=l2,skip=1", {.by = reference::LagBy::norm});
}

TEST_CASE("lagkv in the form of kvpress agrees with its double-precision twin across partitions",
          "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const LagCase test(i);
        const PolicyRun run = make_policy(test.spec(",compat=kvpress,cross=1"));
        const Position tokens = reference::kvpress_tokens(test.ratio, test.held());
        const Position window = window_of(test);
        ContextViews views(test.drawn.layer, run.policy->needs(), QuerySource::agnostic);
        const auto session = observed_session(*run.policy, {&test.drawn.layer, 1});
        const Decision decision = session->decide({}, test.limit());
        for (const HeadView& head : views.heads()) {
            INFO(run.spec << " keeps " << tokens << " of " << test.held());
            if (tokens <= test.sinks + window) {
                CHECK(decision[head.id] == sinks_and_latest(test, tokens));
                continue;
            }
            reference::Row twin = kvpress_scores(test, head);
            check_scores(session->scores(head.id, test.limit()), twin);
            std::fill_n(twin.begin(), test.sinks, 2 * stays);
            check_kept(decision[head.id], twin, test.held(), tokens, window);
        }
    }
}

TEST_CASE("lagkv in the form of kvpress ranks inside of partitions as its twin does",
          "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const LagCase test(i);
        const PolicyRun run = make_policy(test.spec(",compat=kvpress"));
        const Position tokens = reference::kvpress_tokens(test.ratio, test.held());
        const Position window = window_of(test);
        ContextViews views(test.drawn.layer, run.policy->needs(), QuerySource::agnostic);
        const auto session = observed_session(*run.policy, {&test.drawn.layer, 1});
        const Decision decision = session->decide({}, test.limit());
        for (const HeadView& head : views.heads()) {
            INFO(run.spec << " keeps " << tokens << " of " << test.held());
            if (tokens <= test.sinks + window) {
                CHECK(decision[head.id] == sinks_and_latest(test, tokens));
                continue;
            }
            const std::vector<float> ranks = session->scores(head.id, test.limit());
            CHECK(decision[head.id] == best(ranks, tokens));
            const reference::Row twin = kvpress_scores(test, head);
            const auto rank_at = [&](Position at) { return ranks[static_cast<std::size_t>(at)]; };
            const auto twin_at = [&](Position at) { return twin[static_cast<std::size_t>(at)]; };
            for (Position begin = test.sinks; begin < test.held() - window; begin += test.lag) {
                std::vector<float> places;
                for (Position a = begin; a < begin + test.lag; ++a) {
                    places.push_back(rank_at(a) * static_cast<float>(test.lag));
                    for (Position b = begin; b < begin + test.lag; ++b)
                        if (twin_at(a) > twin_at(b) && !close(twin_at(a), twin_at(b)))
                            CHECK(rank_at(a) > rank_at(b));
                }
                std::sort(places.begin(), places.end());
                for (std::size_t place = 0; place < places.size(); ++place)
                    CHECK(places[place] == Approx(place));
            }
        }
    }
}

TEST_CASE("a channel may be scaled and shifted: lagkv sees the same", "[policies][lagkv]") {
    for (int i = 0; i < shapes; ++i) {
        const LagCase test(i);
        Layer coarse = test.drawn.layer;
        // In steps of 1/256 a whole number can be added, and a power of two multiplied, exactly.
        for (std::vector<float>* tensor : {&coarse.data.keys, &coarse.data.values})
            for (float& x : *tensor)
                x = std::round(x * 256.0f) / 256.0f;
        Layer moved = coarse;
        const auto dim = static_cast<std::size_t>(coarse.shape.head_dim);
        for (std::vector<float>* tensor : {&moved.data.keys, &moved.data.values})
            for (std::size_t at = 0; at < tensor->size(); ++at) {
                const auto channel = static_cast<std::uint64_t>(at % dim);
                (*tensor)[at] += static_cast<float>(
                    static_cast<int>(test.drawn.random.below(3000000 + channel, 17)) - 8);
                (*tensor)[at] *= std::ldexp(
                    1.0f, static_cast<int>(test.drawn.random.below(4000000 + channel, 5)) - 2);
            }
        for (const std::string more : {"", ",score=local", ",compat=kvpress"}) {
            const PolicyRun run = make_policy(test.spec(more));
            const auto before = observed_session(*run.policy, {&coarse, 1});
            const auto after = observed_session(*run.policy, {&moved, 1});
            INFO("shape " << i << ": " << run.spec);
            CHECK(before->decide({}, test.limit()) == after->decide({}, test.limit()));
            CHECK(before->scores({0, 0}, test.limit()) == after->scores({0, 0}, test.limit()));
        }
    }
}

TEST_CASE("lagkv leaves the same cache however a context is cut into pieces", "[policies][lagkv]") {
    for (int i = 0; i < shapes; ++i) {
        const LagCase test(i);
        const Layer& layer = test.drawn.layer;
        const PolicyRun run = make_policy(test.spec(""));
        const Decision at_once = decide(*run.policy, {&layer, 1}, test.limit());
        const Position longest = test.drawn.draw(34, 0, 1) == 0 ? 1 : 9;
        const auto session = run.policy->start(
            {.shape = layer.shape, .context_len = test.held(), .prompt_len = test.held()});
        std::vector<std::vector<Position>> held(static_cast<std::size_t>(layer.shape.kv_heads));
        for (Position begin = 0, end = 0; begin < test.held(); begin = end) {
            end = std::min(
                test.held(),
                begin + test.drawn.draw(100 + static_cast<std::uint64_t>(begin), 1, longest));
            std::vector<std::vector<float>> keys, values;
            for (std::size_t head = 0; head < held.size(); ++head) {
                for (Position token = begin; token < end; ++token)
                    held[head].push_back(token);
                const auto number = static_cast<std::int32_t>(head);
                keys.push_back(rows_of(layer.data.keys, layer, number, held[head]));
                values.push_back(rows_of(layer.data.values, layer, number, held[head]));
            }
            std::vector<HeadView> views;
            for (std::size_t head = 0; head < held.size(); ++head)
                views.push_back(
                    {.id = {0, static_cast<std::int32_t>(head)},
                     .positions = held[head],
                     .keys = view(keys[head].data(), std::ssize(held[head]), layer.shape.head_dim),
                     .values =
                         view(values[head].data(), std::ssize(held[head]), layer.shape.head_dim)});
            session->observe({.layer = 0, .block = {begin, end, false}, .heads = views});
            const Decision decision = session->decide({begin, end, false}, test.limit());
            session->settle(decision);
            for (std::size_t head = 0; head < held.size(); ++head)
                held[head] = decision[{0, static_cast<std::int32_t>(head)}];
        }
        INFO("shape " << i << ": " << run.spec << " in pieces of up to " << longest);
        for (std::size_t head = 0; head < held.size(); ++head)
            CHECK(held[head] == at_once[{0, static_cast<std::int32_t>(head)}]);
    }
}

TEST_CASE("the order of tokens in the last partition changes no score of lagkv",
          "[policies][lagkv]") {
    for (int i = 0; i < shapes; ++i) {
        const LagCase test(i);
        const Position window = window_of(test);
        if (window == test.held())
            continue;
        Layer turned = test.drawn.layer;
        const std::ptrdiff_t dim = turned.shape.head_dim;
        // Partitions before it are judged against its ranges alone.
        for (std::vector<float>* tensor : {&turned.data.keys, &turned.data.values})
            for (std::int32_t head = 0; head < turned.shape.kv_heads; ++head)
                for (Position at = 0; at < test.lag / 2; ++at) {
                    const auto first =
                        tensor->begin() +
                        (std::ptrdiff_t{head} * turned.length + test.held() - window) * dim;
                    std::swap_ranges(first + at * dim,
                                     first + (at + 1) * dim,
                                     first + (test.lag - 1 - at) * dim);
                }
        const PolicyRun run = make_policy(test.spec(""));
        const auto before = observed_session(*run.policy, {&test.drawn.layer, 1});
        const auto after = observed_session(*run.policy, {&turned, 1});
        INFO("shape " << i << ": " << run.spec);
        CHECK(before->scores({0, 0}, test.limit()) == after->scores({0, 0}, test.limit()));
        CHECK(before->decide({}, test.limit()) == after->decide({}, test.limit()));
    }
}
