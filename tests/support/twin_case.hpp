#pragma once

#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/policy_twins.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

/// Comparing a policy with its double-precision twin on small layers of random shape.
namespace kvtape::testing {

inline constexpr int shapes = 1000;
inline constexpr double tolerance = 2e-5;

/// From here on a twin's score stands for a rule: what the policy shows is not compared.
inline constexpr double stays = 1e29;

/// A small layer whose every dimension is drawn, ragged ones preferred.
struct Case {
    Philox random;
    Layer layer;

    explicit Case(int number, Position shortest = 1, Position longest = 60)
        : random(static_cast<std::uint64_t>(number), 77),
          layer(make(shortest, longest)) {}

    Position draw(std::uint64_t index, Position low, Position high) const {
        return low + static_cast<Position>(
                         random.below(1000000 + index, static_cast<std::uint32_t>(high - low + 1)));
    }
    Layer make(Position shortest, Position longest) const {
        Shape shape{.layers = 1, .kv_heads = draw(0, 1, 3), .head_dim = draw(1, 2, 40)};
        shape.query_heads = shape.kv_heads * draw(2, 1, 4);
        shape.softmax_scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
        const Position context = draw(3, shortest, longest);
        return random_layer(shape, 0, context, context + draw(4, 1, 5), random);
    }
    QuerySource source() const {
        return std::array{QuerySource::agnostic,
                          QuerySource::question}[static_cast<std::size_t>(draw(5, 0, 1))];
    }
};

/// `absolute` is the error allowed where scores are differences or sums of opposite signs.
inline bool close(double found, double expected, double absolute = 1e-12) {
    return std::abs(found - expected) <= tolerance * std::abs(expected) + absolute;
}

/// Every finite score equals the twin's; entries kept by rule show +inf.
inline void check_scores(const std::vector<float>& scores,
                         const reference::Row& twin,
                         double absolute = 1e-12) {
    for (std::size_t i = 0; i < std::min(scores.size(), twin.size()); ++i) {
        INFO("entry " << i);
        if (!std::isinf(scores[i]) && twin[i] < stays)
            CHECK(close(static_cast<double>(scores[i]), twin[i], absolute));
    }
}

/// `kept` holds the entries of the rule and the best of the others by the twin's scores; those that
/// differ from the cut by less than float32 can tell may stand in for each other.
inline void check_kept(const std::vector<Position>& kept,
                       const reference::Row& twin,
                       Position held,
                       Position tokens,
                       Position last,
                       double absolute = 1e-12) {
    REQUIRE(std::ssize(kept) == tokens);
    std::vector<double> others(
        twin.begin(), twin.begin() + std::min<std::ptrdiff_t>(std::ssize(twin), held - last));
    std::sort(others.begin(), others.end(), std::greater<>());
    const Position scored = tokens - last;
    const double cut = scored == 0 ? INFINITY : others[static_cast<std::size_t>(scored - 1)];
    for (Position entry = 0; entry < held; ++entry) {
        const bool is_kept = std::binary_search(kept.begin(), kept.end(), entry);
        INFO("entry " << entry << " of " << held);
        if (entry >= held - last) {
            CHECK(is_kept);
            continue;
        }
        const double score =
            entry < std::ssize(twin) ? twin[static_cast<std::size_t>(entry)] : -INFINITY;
        if (close(score, cut, absolute))
            continue;
        CHECK(is_kept == (score > cut));
    }
}

/// Compares the policy of `spec` with `twin` and the rule "the last `last(tokens)` stay".
inline void compare(const Case& drawn,
                    const std::string& spec,
                    const std::function<reference::Row(const HeadView&)>& twin,
                    const std::function<Position(Position)>& last,
                    double absolute = 1e-12) {
    const Position held = drawn.layer.context_len;
    const PolicyRun run = make_policy(spec);
    const QuerySource source = run.policy->needs().future ? QuerySource::oracle : drawn.source();
    ContextViews views(drawn.layer, run.policy->needs(), source);
    const auto session = observed_session(*run.policy, {&drawn.layer, 1}, {.source = source});
    for (const Position tokens : {1, drawn.draw(9, 1, held), held}) {
        const Decision decision = session->decide({}, {tokens, std::nullopt});
        for (const HeadView& head : views.heads()) {
            INFO(spec << " keeps " << tokens << " of " << held << " in KV head " << head.id.head);
            const reference::Row expected = twin(head);
            check_scores(session->scores(head.id, {tokens, std::nullopt}), expected, absolute);
            check_kept(decision[head.id], expected, held, tokens, last(tokens), absolute);
        }
    }
}

}  // namespace kvtape::testing
