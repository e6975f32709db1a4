#include "tests/support/twin_case.hpp"
#include "tests/support/twins/allocation.hpp"

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// A pyramid over layers of random shape.
struct PyramidCase {
    Case drawn;
    std::vector<Layer> layers;
    reference::Pyramid options;
    std::string spec;

    explicit PyramidCase(int number) : drawn(number, 1, 40) {
        const Layer& first = drawn.layer;
        for (std::int32_t layer = 0; layer < drawn.draw(70, 1, 4); ++layer)
            layers.push_back(
                random_layer(first.shape, layer, first.context_len, first.length, drawn.random));
        options = {.window = drawn.draw(71, 1, 8),
                   .beta = static_cast<double>(drawn.draw(72, 1, 25))};
        spec = "pyramidkv:window=" + std::to_string(options.window) +
               ",beta=" + std::to_string(drawn.draw(72, 1, 25));
    }
    int count() const { return static_cast<int>(layers.size()); }
    Position held() const { return drawn.layer.context_len; }

    /// Checks that every layer keeps the window and the best of the votes, `tokens(layer)` in all.
    template <typename Tokens>
    void check(const std::string& policy, const Limit& limit, const Tokens& tokens) const {
        const PolicyRun run = make_policy(policy);
        const Decision decision = decide(*run.policy, layers, limit);
        const reference::SnapKv votes{.window = static_cast<std::size_t>(options.window)};
        for (const Layer& layer : layers) {
            ContextViews views(layer, run.policy->needs(), QuerySource::agnostic);
            const auto kept = static_cast<Position>(tokens(layer.number));
            for (const HeadView& head : views.heads()) {
                INFO(policy << ": layer " << layer.number << " of " << count() << " keeps " << kept
                            << " of " << held());
                check_kept(decision[head.id],
                           reference::snapkv(head, layer.shape, votes),
                           held(),
                           kept,
                           std::min(kept, options.window));
            }
        }
    }
};

}  // namespace

TEST_CASE("pyramidkv agrees with its double-precision twin in every layer", "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const PyramidCase test(i);
        const Position budget = test.drawn.draw(73, 1, test.held());
        double total = 0.0, before = test.held();
        test.check(test.spec, {budget, std::nullopt}, [&](int layer) {
            return reference::pyramid_tokens(
                budget, test.held(), layer, test.count(), test.options);
        });
        for (int layer = 0; layer < test.count(); ++layer) {
            const double tokens =
                reference::pyramid_tokens(budget, test.held(), layer, test.count(), test.options);
            CHECK(tokens <= before);
            before = tokens;
            total += tokens;
        }
        // The steps are rounded down: on average half a token for each layer.
        CHECK(total >= budget * test.count());
        CHECK(total <= budget * test.count() + test.count() * (test.count() - 1) / 2.0);
    }
}

TEST_CASE("pyramidkv in the form of kvpress agrees with its double-precision twin",
          "[policies][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const PyramidCase test(i);
        const Ratio ratio{test.drawn.draw(74, 1, 100), 100};
        const Position budget = std::max(1, static_cast<Position>(ratio.floor_of(test.held())));
        const auto by = [&](double average) {
            return [&test, average](int layer) {
                return reference::pyramid_tokens_kvpress(
                    average, test.held(), layer, test.count(), test.options);
            };
        };
        const std::string spec = test.spec + ",compat=kvpress";
        test.check(spec, {budget, ratio}, by(test.held() * reference::kvpress_share(ratio)));
        test.check(spec, {budget, std::nullopt}, by(budget));
    }
}
