#include "core/error.hpp"
#include "policies/parts/likeness.hpp"
#include "policies/parts/merging.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/ems_entries.hpp"
#include "tests/support/layer.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 2,
                      .query_heads = 6,
                      .kv_heads = 3,
                      .head_dim = 6,
                      .hidden_size = 36,
                      .softmax_scale = 0.4};

/// Few dimensions, so that many tokens are alike.
std::vector<Layer> two_layers(Position context = 301) {
    return {random_layer(shape, 0, context, context + 9, Philox(3)),
            random_layer(shape, 1, context, context + 9, Philox(3))};
}

template <typename Check>
void for_each_head(const Check& check) {
    for (std::int32_t layer = 0; layer < shape.layers; ++layer)
        for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
            INFO("layer " << layer << ", KV head " << head);
            check(HeadId{layer, head});
        }
}

Limit tokens(Position count) {
    return {count, std::nullopt};
}

const float* row(const std::vector<float>& tensor, const Layer& layer, HeadId id, Position token) {
    return tensor.data() + (std::int64_t{id.head} * layer.length + token) * layer.shape.head_dim;
}

double length(const float* vector) {
    return std::sqrt(reference::dot(vector, vector, shape.head_dim));
}

}  // namespace

TEST_CASE("ems keeps exactly its budget, and everything that fits", "[policies][ems]") {
    const PolicyRun run = make_policy("ems:window=8");
    const std::vector<Layer> layers = two_layers();
    const auto session = observed_session(*run.policy, layers);
    for (const Position budget : {1, 7, 8, 9, 50, 300, 301, 400}) {
        const Decision decision = session->decide({}, tokens(budget));
        for_each_head([&](HeadId id) {
            INFO("budget " << budget);
            CHECK(std::ssize(decision[id]) == std::min(budget, 301));
            if (budget <= 8 || budget >= 301)
                CHECK(decision.merges(id) == Merges{});
        });
    }
}

TEST_CASE(
    "the sum of all attention so far is the number of queries, and the Global-Local score is "
    "never below the local one",
    "[policies][ems]") {
    const PolicyRun run = make_policy("ems:window=16");
    const std::vector<Layer> layers = two_layers();
    const auto session = observed_session(*run.policy, layers);
    for (const Layer& layer : layers) {
        ContextViews views(layer, run.policy->needs(), QuerySource::agnostic);
        for (const HeadView& head : views.heads()) {
            const auto entries = entries_of(head, shape);
            double sum = 0.0;
            for (const auto& entry : entries)
                sum += entry.global;
            CHECK(sum == Approx(301.0).epsilon(1e-5));
            const std::vector<float> scores = session->scores(head.id, tokens(60));
            REQUIRE(scores.size() == 301);
            for (std::size_t i = 0; i < 301 - 16; ++i) {
                CHECK(static_cast<double>(scores[i]) * 16.0 ==
                      Approx(std::max(entries[i].global * 16.0 / 301.0, entries[i].local))
                          .epsilon(2e-5));
                CHECK(static_cast<double>(scores[i]) * 16.0 >= entries[i].local * (1.0 - 2e-5));
            }
        }
    }
}

TEST_CASE("without merging, ems keeps the window and the best scores, to the bit",
          "[policies][ems]") {
    const std::vector<Layer> layers = two_layers();
    const PolicyRun default_run = make_policy("ems:window=8");
    const auto merging = observed_session(*default_run.policy, layers);
    for (const std::string spec : {"ems:window=8,gamma=0", "ems:window=8,tau=1.01"}) {
        const PolicyRun run = make_policy(spec);
        const auto session = observed_session(*run.policy, layers);
        const Decision decision = session->decide({}, tokens(40));
        const Decision other = merging->decide({}, tokens(40));
        for_each_head([&](HeadId id) {
            const std::vector<float> scores = session->scores(id, tokens(40));
            std::vector<Position> order(scores.size());
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) {
                return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
            });
            order.resize(40);
            std::sort(order.begin(), order.end());
            CHECK(decision[id] == order);
            CHECK(decision.merges(id) == Merges{});
            CHECK(other[id] == order);
            CHECK_FALSE(other.merges(id).absorbed.empty());
        });
    }
}

TEST_CASE("merging exact duplicates leaves key and value as they are", "[policies][ems]") {
    std::vector<Layer> layers = two_layers(240);
    // Tokens 3 i + 1 and 3 i + 2 repeat token 3 i; what else is alike stays apart.
    for (Layer& layer : layers) {
        for (std::vector<float>* tensor : {&layer.data.keys, &layer.data.values})
            for (std::int32_t head = 0; head < shape.kv_heads; ++head)
                for (Position token = 0; token < 240; ++token) {
                    float* first = tensor->data() + (head * layer.length) * shape.head_dim;
                    std::copy_n(first + (token - token % 3) * shape.head_dim,
                                shape.head_dim,
                                first + token * shape.head_dim);
                }
        fill_statistics(layer);
    }
    const PolicyRun run = make_policy("ems:window=9,tau=0.999,rho=1");
    const auto session = observed_session(*run.policy, layers);
    std::size_t merged = 0;
    for (Position budget = 20; budget < 220; budget += 10) {
        const Decision decision = session->decide({}, tokens(budget));
        for_each_head([&](HeadId id) {
            const Layer& layer = layers[static_cast<std::size_t>(id.layer)];
            const Merges& merges = decision.merges(id);
            for (const Absorbed& pair : merges.absorbed)
                CHECK(pair.from / 3 == pair.into / 3);
            for (std::size_t i = 0; i < merges.changed.size(); ++i) {
                const auto at = static_cast<std::ptrdiff_t>(i) * shape.head_dim;
                CHECK(std::equal(merges.keys.begin() + at,
                                 merges.keys.begin() + at + shape.head_dim,
                                 row(layer.data.keys, layer, id, merges.changed[i])));
                CHECK(std::equal(merges.values.begin() + at,
                                 merges.values.begin() + at + shape.head_dim,
                                 row(layer.data.values, layer, id, merges.changed[i])));
            }
            merged += merges.absorbed.size();
        });
    }
    CHECK(merged > 50);
}

TEST_CASE("merged values lie between those of their members, and merged keys are as long",
          "[policies][ems]") {
    const std::vector<Layer> layers = two_layers();
    const Decision decision =
        decide(*make_policy("ems:window=8,tau=0.2").policy, layers, tokens(40));
    for_each_head([&](HeadId id) {
        const Layer& layer = layers[static_cast<std::size_t>(id.layer)];
        const Merges& merges = decision.merges(id);
        REQUIRE_FALSE(merges.changed.empty());
        for (std::size_t i = 0; i < merges.changed.size(); ++i) {
            std::vector<Position> members = {merges.changed[i]};
            for (const Absorbed& pair : merges.absorbed)
                if (pair.into == merges.changed[i])
                    members.push_back(pair.from);
            REQUIRE(members.size() > 1);
            const auto at = i * static_cast<std::size_t>(shape.head_dim);
            for (std::size_t c = 0; c < static_cast<std::size_t>(shape.head_dim); ++c) {
                float low = INFINITY, high = -INFINITY;
                for (const Position member : members) {
                    const float value = row(layer.data.values, layer, id, member)[c];
                    low = std::min(low, value);
                    high = std::max(high, value);
                }
                CHECK(merges.values[at + c] >= low);
                CHECK(merges.values[at + c] <= high);
            }
            double shortest = INFINITY, longest = 0.0;
            for (const Position member : members) {
                const double own = length(row(layer.data.keys, layer, id, member));
                shortest = std::min(shortest, own);
                longest = std::max(longest, own);
            }
            CHECK(length(merges.keys.data() + at) >= shortest * (1.0 - 1e-6));
            CHECK(length(merges.keys.data() + at) <= longest * (1.0 + 1e-6));
        }
    });
}

TEST_CASE("the order in which entries are merged changes nothing", "[policies][ems]") {
    const std::vector<Layer> layers = two_layers();
    ContextViews views(layers[0], {.keys = true, .values = true}, QuerySource::agnostic);
    const HeadView& head = views.heads()[1];
    std::vector<Position> entries(150), centers(60);
    std::iota(entries.begin(), entries.end(), 100);
    std::iota(centers.begin(), centers.end(), 7);
    std::vector<float> scores(301);
    for (std::size_t i = 0; i < scores.size(); ++i)
        scores[i] = 1.0f / static_cast<float>(1 + (i * 37) % 53);
    const auto merge = [&] {
        return merged(head, scores, entries, most_alike(head, entries, centers, {.least = 0.3}));
    };
    const Merges straight = merge();
    CHECK_FALSE(straight.absorbed.empty());
    std::rotate(entries.begin(), entries.begin() + 61, entries.end());
    std::reverse(entries.begin(), entries.begin() + 40);
    CHECK(merge() == straight);
}

TEST_CASE("the recent window and sinks are never merged into", "[policies][ems]") {
    const std::vector<Layer> layers = two_layers();
    const Decision decision =
        decide(*make_policy("ems:window=24,sinks=5,tau=0.1").policy, layers, tokens(60));
    for_each_head([&](HeadId id) {
        for (const Position changed : decision.merges(id).changed)
            CHECK((changed >= 5 && changed < 301 - 24));
        CHECK(decision[id][4] == 4);
        CHECK(decision[id][60 - 24] == 301 - 24);
    });
}

TEST_CASE("permuting heads permutes what ems merges", "[policies][ems]") {
    const std::vector<Layer> layers = two_layers();
    std::vector<Layer> swapped = layers;
    for (Layer& layer : swapped) {
        const auto turn = [](std::vector<float>& tensor) {
            std::rotate(tensor.begin(), tensor.begin() + std::ssize(tensor) / 3, tensor.end());
        };
        turn(layer.data.keys);
        turn(layer.data.values);
        turn(layer.data.queries);
        turn(layer.data.column_sums);
    }
    const PolicyRun run = make_policy("ems:window=8,tau=0.3");
    const Decision straight = decide(*run.policy, layers, tokens(50));
    const Decision moved = decide(*run.policy, swapped, tokens(50));
    for_each_head([&](HeadId id) {
        const HeadId from{id.layer, (id.head + 1) % 3};
        CHECK(moved[id] == straight[from]);
        CHECK(moved.merges(id) == straight.merges(from));
    });
}

TEST_CASE("a value that is not finite is named when ems would merge it", "[policies][ems]") {
    std::vector<Layer> layers = two_layers();
    for (Position token = 40; token < 200; ++token)
        layers[1].data.values[static_cast<std::size_t>((layers[1].length + token) * 6 + 2)] = NAN;
    const PolicyRun run = make_policy("ems:window=8");
    try {
        decide(*run.policy, layers, tokens(40));
        FAIL("nothing was refused");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::format);
        CHECK_THAT(error.what(),
                   Catch::Matchers::Contains("layer 1, KV head 1: the values at position 40"));
    }
}

TEST_CASE("heads that share their budget keep what all would, and no head less than a fifth",
          "[policies][ems]") {
    const std::vector<Layer> layers = two_layers();
    const PolicyRun run = make_policy("ems:window=8,ragged=1");
    const auto session = observed_session(*run.policy, layers);
    bool uneven = false;
    for (const Position budget : {7, 8, 9, 20, 100, 300, 301, 400}) {
        const Decision decision = session->decide({}, tokens(budget));
        for (std::int32_t layer = 0; layer < shape.layers; ++layer) {
            std::ptrdiff_t kept = 0;
            for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
                const auto own = std::ssize(decision[{layer, head}]);
                CHECK(own >= std::min(budget, 8 + budget / 5));
                uneven |= own != std::min(budget, 301);
                kept += own;
            }
            CHECK(kept == shape.kv_heads * std::min(budget, 301));
        }
    }
    CHECK(uneven);
}

TEST_CASE("what ems protects and what votes are chosen apart", "[policies][ems]") {
    const std::vector<Layer> layers = two_layers();
    const PolicyRun run = make_policy("ems:window=24,recent=3,tau=0.1,into_protected=1");
    const PolicyRun usual = make_policy("ems:window=24");
    const auto session = observed_session(*run.policy, layers);
    const auto narrow = observed_session(*usual.policy, layers);
    const Decision decision = session->decide({}, tokens(60));
    Position last_changed = 0;
    for_each_head([&](HeadId id) {
        const std::vector<float> scores = session->scores(id, tokens(60));
        const std::vector<float> others = narrow->scores(id, tokens(60));
        CHECK(std::equal(others.begin(), others.end() - 24, scores.begin()));
        CHECK(std::count(scores.begin(), scores.end(), INFINITY) == 3);
        if (!decision.merges(id).changed.empty())
            last_changed = std::max(last_changed, decision.merges(id).changed.back());
    });
    CHECK(last_changed >= 301 - 3);
}

TEST_CASE("ems says wherever it is shown that it is a reconstruction", "[policies][ems]") {
    const std::string caveat =
        "ems: reconstructed from the abstract, the score formula and reviews";
    CHECK(caveat_of("ems") == caveat);
    CHECK(caveat_of("ems:gamma=0") == caveat);
    CHECK(caveat_of("adakv(ems:gamma=0):alpha=0.2") == caveat);
    for (const char* spec : {"snapkv", "", "(", "emsx", "xems:", "snapkv:pool=ems", "a(b(c"})
        CHECK(caveat_of(spec).empty());
}
