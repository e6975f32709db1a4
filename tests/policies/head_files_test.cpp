#include "core/error.hpp"
#include "policies/files.hpp"
#include "tests/support/twin_case.hpp"

#include <cmath>
#include <numeric>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

/// One text, whatever the path.
class Text final : public Files {
  public:
    explicit Text(std::string text) : text_(std::move(text)) {}
    std::shared_ptr<const ScoreTable> scores(const std::string& path) const override {
        throw internal_error("no scores stand for " + path);
    }
    std::string text(const std::string&) const override { return text_; }

  private:
    std::string text_;
};

/// A model of a few layers of one shape, with a value for every head; some values repeat.
struct Model {
    Case first;
    std::vector<Layer> layers;
    std::vector<double> values;
    std::string text;

    explicit Model(int number) : first(number, 4, 60) {
        const Position count = first.draw(60, 1, 3);
        for (std::int32_t layer = 0; layer < count; ++layer) {
            layers.push_back(random_layer(first.layer.shape,
                                          layer,
                                          first.layer.context_len,
                                          first.layer.length,
                                          first.random));
            for (std::int32_t head = 0; head < first.layer.shape.kv_heads; ++head) {
                values.push_back(first.draw(70 + values.size(), 0, 6) * 0.25);
                text.append(head == 0 ? "" : ",").append(std::to_string(values.back()));
            }
            text += '\n';
        }
    }
    Position held() const { return first.layer.context_len; }
    Shape shape() const {
        Shape shape = first.layer.shape;
        shape.layers = static_cast<std::int32_t>(layers.size());
        return shape;
    }
    HeadId head(std::size_t i) const {
        const auto number = static_cast<std::int32_t>(i);
        return {number / first.layer.shape.kv_heads, number % first.layer.shape.kv_heads};
    }
    Decision decide(const std::string& spec, const Limit& limit) const {
        const Text file(text);
        const PolicyRun run = make_policy(spec, policies::all(), &file);
        run.policy->expect_fit(shape());
        return testing::decide(*run.policy, layers, limit);
    }
};

/// How many heads go before each when the lowest value goes first.
std::vector<std::size_t> places(const std::vector<double>& values) {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::size_t before = 0;
        for (std::size_t k = 0; k < values.size(); ++k)
            before += values[k] < values[i] || (values[k] == values[i] && k < i) ? 1u : 0u;
        found.push_back(before);
    }
    return found;
}

}  // namespace

TEST_CASE("headkv gives every head a floor and its share of the pool, within a token",
          "[policies][heads][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Model model(i);
        const Position window = model.first.draw(80, 1, 8);
        const Position tokens = model.first.draw(81, 1, model.held());
        const double beta = 1.0 + 0.5 * model.first.draw(82, 0, 6);
        const std::string base = "snapkv:window=" + std::to_string(window);
        const Decision decision = model.decide(
            "headkv(" + base + "):file=F,beta=" + std::to_string(beta), {tokens, std::nullopt});
        const double free = std::max(0, tokens - window);
        const double pooled = std::floor(free / beta);
        const double sum = std::accumulate(model.values.begin(), model.values.end(), 0.0);
        const auto heads = static_cast<double>(model.values.size());
        double total = 0.0;
        bool clipped = false;
        for (std::size_t k = 0; k < model.values.size(); ++k) {
            INFO("model " << i << ", head " << k << ", " << tokens << " of " << model.held());
            const double share = sum > 0.0 ? model.values[k] / sum : 1.0 / heads;
            const double due = std::min(tokens, window) + (free - pooled) + share * pooled * heads;
            const auto kept = static_cast<double>(decision[model.head(k)].size());
            if (tokens == model.held())
                CHECK(kept == model.held());
            else
                CHECK(std::abs(kept - std::min<double>(due, model.held())) < 1.0);
            clipped = clipped || due > model.held() - 1.0;
            total += kept;
            const Limit own{static_cast<Position>(decision[model.head(k)].size()), std::nullopt};
            const Decision alone = model.decide(base, own);
            CHECK(decision[model.head(k)] == alone[model.head(k)]);
        }
        if (!clipped)
            CHECK(total == heads * tokens);
    }
}

TEST_CASE("duo_attention streams exactly the heads that the budget takes",
          "[policies][heads][twin]") {
    for (int i = 0; i < shapes; ++i) {
        const Model model(i);
        const Position held = model.held(), tokens = model.first.draw(83, 1, held);
        const Position sinks = model.first.draw(84, 0, 4), recent = model.first.draw(85, 1, 20);
        const Decision decision =
            model.decide("duo_attention:file=F,sinks=" + std::to_string(sinks) +
                             ",recent=" + std::to_string(recent),
                         {tokens, std::nullopt});
        const std::vector<std::size_t> place = places(model.values);
        // Streaming heads are the first few; no fewer would do.
        std::size_t streaming = 0;
        double kept = held * static_cast<double>(model.values.size());
        const double streamed = std::min(sinks + recent, held);
        while (kept > tokens * static_cast<double>(model.values.size()) &&
               streaming < model.values.size()) {
            kept -= held - streamed;
            ++streaming;
        }
        for (std::size_t k = 0; k < place.size(); ++k) {
            INFO("model " << i << ", head " << k << ", " << tokens << " of " << held);
            const std::vector<Position>& keep = decision[model.head(k)];
            const Position first = std::min(sinks, std::min(tokens, held));
            const Position last = std::min(recent, std::min(tokens, held) - first);
            std::vector<Position> expected;
            for (Position token = 0; token < held; ++token)
                if (place[k] >= streaming || token < first || token >= held - last)
                    expected.push_back(token);
            CHECK(keep == expected);
        }
    }
}
