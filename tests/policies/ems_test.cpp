#include "tests/support/twins/ems.hpp"

#include "core/error.hpp"
#include "policies/parts/likeness.hpp"
#include "policies/parts/merging.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/layer.hpp"
#include "tests/support/policy_twins.hpp"
#include "trace/reader.hpp"

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

/// Every entry of a view with its statistics.
std::vector<reference::EmsEntry> entries_of(const HeadView& head, const Shape& of) {
    const auto group = static_cast<double>(of.group());
    const reference::Row local = reference::oracle(head, of);
    std::vector<reference::EmsEntry> entries;
    for (std::size_t i = 0; i < head.positions.size(); ++i) {
        const auto at = static_cast<Eigen::Index>(i);
        reference::EmsEntry entry{.position = head.positions[i],
                                  .key = {},
                                  .value = {},
                                  .global = 0.0,
                                  .local = local[i] / group};
        for (Eigen::Index c = 0; c < head.keys.cols(); ++c) {
            entry.key.push_back(static_cast<double>(head.keys(at, c)));
            entry.value.push_back(static_cast<double>(head.values(at, c)));
        }
        for (Eigen::Index g = 0; g < head.column_sums.rows(); ++g)
            entry.global += static_cast<double>(head.column_sums(g, at)) / group;
        entries.push_back(std::move(entry));
    }
    return entries;
}

std::map<Position, Position> map_of(const std::vector<Absorbed>& absorbed) {
    std::map<Position, Position> map;
    for (const Absorbed& pair : absorbed)
        map[pair.from] = pair.into;
    return map;
}

/// Compares a decision on one head with the twin's step.
void compare(const Decision& decision, HeadId id, const reference::EmsStep& step) {
    std::vector<Position> kept;
    for (const reference::EmsEntry& entry : step.kept)
        kept.push_back(entry.position);
    REQUIRE(decision[id] == kept);
    const Merges& merges = decision.merges(id);
    CHECK(map_of(merges.absorbed) == step.into);
    std::size_t at = 0;
    for (const Position changed : merges.changed) {
        const auto entry = std::find_if(step.kept.begin(), step.kept.end(), [&](const auto& e) {
            return e.position == changed;
        });
        REQUIRE(entry != step.kept.end());
        for (std::size_t c = 0; c < entry->key.size(); ++c, ++at) {
            CHECK(merges.keys[at] == Approx(entry->key[c]).epsilon(1e-4).margin(1e-5));
            CHECK(merges.values[at] == Approx(entry->value[c]).epsilon(1e-4).margin(1e-5));
        }
    }
    CHECK(merges.keys.size() == at);
    CHECK(merges.values.size() == at);
}

}  // namespace

TEST_CASE("ems agrees with its double-precision twin", "[policies][ems][twin]") {
    int judged = 0, merged = 0;
    for (int number = 0; number < 1000; ++number) {
        const Philox random(static_cast<std::uint64_t>(number), 91);
        const auto draw = [&](std::uint64_t index, int low, int high) {
            return low + static_cast<int>(random.below(5000000 + index,
                                                       static_cast<std::uint32_t>(high - low + 1)));
        };
        Shape drawn{.layers = 1, .kv_heads = draw(0, 1, 2), .head_dim = draw(1, 2, 6)};
        drawn.query_heads = drawn.kv_heads * draw(2, 1, 3);
        drawn.softmax_scale = 1.0 / std::sqrt(static_cast<double>(drawn.head_dim));
        const Position context = draw(3, 1, 60);
        const Layer layer = random_layer(drawn, 0, context, context + draw(4, 1, 4), random);
        const reference::EmsOptions options{.window = static_cast<std::size_t>(draw(5, 1, 5)),
                                            .sinks = static_cast<std::size_t>(draw(6, 0, 2)),
                                            .gamma = draw(7, 0, 4) / 2.0,
                                            .rho = draw(8, 5, 10) / 10.0,
                                            .tau = draw(9, 1, 6) / 10.0,
                                            .literal = draw(10, 0, 1) == 1};
        const std::string spec =
            "ems:window=" + std::to_string(options.window) +
            ",sinks=" + std::to_string(options.sinks) + ",gamma=" + std::to_string(options.gamma) +
            ",rho=" + std::to_string(options.rho) + ",tau=" + std::to_string(options.tau) +
            ",literal_product=" + (options.literal ? "1" : "0");
        const PolicyRun run = make_policy(spec);
        const QuerySource source =
            draw(11, 0, 3) == 0 ? QuerySource::question : QuerySource::agnostic;
        ContextViews views(layer, run.policy->needs(), source);
        const auto session = observed_session(*run.policy, {&layer, 1}, {.source = source});
        for (const Position budget : {1, draw(12, 1, context), (context + 1) / 2, context}) {
            const Decision decision = session->decide({}, tokens(budget));
            for (const HeadView& head : views.heads()) {
                INFO(spec << " keeps " << budget << " of " << context << " in KV head "
                          << head.id.head);
                std::vector<reference::EmsEntry> entries = entries_of(head, drawn);
                const auto voters = static_cast<double>(head.observed.positions.size());
                double queries = context;
                if (source == QuerySource::question) {
                    queries += voters;
                    for (reference::EmsEntry& entry : entries)
                        entry.global += entry.local;
                }
                const std::vector<float> scores = session->scores(head.id, tokens(budget));
                for (std::size_t i = 0; i < scores.size(); ++i)
                    if (!std::isinf(scores[i]))
                        CHECK(scores[i] == Approx(reference::ems_score(entries[i], queries, voters))
                                               .epsilon(2e-5));
                reference::EmsStep step{.kept = entries, .into = {}};
                if (budget < context)
                    step = reference::ems_compress(
                        entries, queries, voters, static_cast<std::size_t>(budget), options);
                if (step.margin < 1e-4)
                    continue;
                ++judged;
                merged += step.into.empty() ? 0 : 1;
                compare(decision, head.id, step);
            }
        }
    }
    CHECK(judged > 4500);
    CHECK(merged > 300);
}

TEST_CASE("ems merges what its golden decisions merge", "[policies][ems][golden]") {
    const std::string name = GENERATE("degenerate-float32",
                                      "grouped-bfloat16",
                                      "long-float16",
                                      "small-float32",
                                      "two-sequences-float32");
    const std::string path = std::string(KVTAPE_SOURCE_DIR "/tests/golden/") + name;
    const auto trace = open_trace(path + ".kvtape.h5");
    int compared = 0;
    for (const GoldenCase& golden : golden_cases(path + ".json")) {
        if (parse_spec(golden.policy).name != "ems")
            continue;
        for (std::int32_t sequence = 0; sequence < trace->sequences(); ++sequence) {
            const SequenceInfo& info = trace->sequence(sequence);
            const auto& expected = golden.sequences.at(info.name);
            for (std::int32_t number = 0; number < trace->info().shape.layers; ++number) {
                Layer layer{trace->info().shape,
                            number,
                            info.context_len,
                            info.length(),
                            info.query_positions,
                            {}};
                layer.shape.layers = number + 1;
                trace->load(sequence,
                            number,
                            {.keys = true, .values = true, .queries = true, .column_sums = true},
                            layer.data);
                const PolicyRun run = make_policy(golden.policy);
                ContextViews views(layer, run.policy->needs(), QuerySource::agnostic);
                const auto session = run.policy->start({.shape = layer.shape,
                                                        .context_len = info.context_len,
                                                        .prompt_len = info.prompt_len});
                session->observe(views.view());
                const Decision decision = session->decide(
                    {}, limit_of(golden.budget, info.context_len, trace->info().shape));
                for (const HeadView& head : views.heads()) {
                    INFO(name << ' ' << info.name << ": " << golden.policy << " at "
                              << golden.budget << ", layer " << number << ", KV head "
                              << head.id.head);
                    const GoldenHead& wanted = expected[static_cast<std::size_t>(number)]
                                                       [static_cast<std::size_t>(head.id.head)];
                    if (wanted.uncertain || decision[head.id] != wanted.kept)
                        continue;
                    const Merges& merges = decision.merges(head.id);
                    if (wanted.near.empty())
                        CHECK(merges.absorbed == wanted.absorbed);
                    if (merges.absorbed != wanted.absorbed)
                        continue;
                    GoldenSums sums;
                    std::size_t changed = 0;
                    for (const Position position : decision[head.id]) {
                        const bool is_changed =
                            changed < merges.changed.size() && merges.changed[changed] == position;
                        const auto dim = static_cast<std::size_t>(layer.shape.head_dim);
                        const float* key = is_changed ? merges.keys.data() + changed * dim
                                                      : head.keys.row(position).data();
                        const float* value = is_changed ? merges.values.data() + changed * dim
                                                        : head.values.row(position).data();
                        changed += is_changed ? 1 : 0;
                        for (std::size_t c = 0; c < dim; ++c) {
                            const auto k = static_cast<double>(key[c]);
                            const auto v = static_cast<double>(value[c]);
                            sums.keys += k;
                            sums.values += v;
                            sums.key_squares += k * k;
                            sums.value_squares += v * v;
                        }
                    }
                    REQUIRE(wanted.sums.has_value());
                    CHECK(sums.keys == Approx(wanted.sums->keys).epsilon(1e-4));
                    CHECK(sums.values == Approx(wanted.sums->values).epsilon(1e-4));
                    CHECK(sums.key_squares == Approx(wanted.sums->key_squares).epsilon(1e-4));
                    CHECK(sums.value_squares == Approx(wanted.sums->value_squares).epsilon(1e-4));
                    ++compared;
                }
            }
        }
    }
    // Of 16, 40, 40, 40 and 160 heads, all but some of the long trace that are too close to call.
    CHECK(compared >= (name == "degenerate-float32"      ? 16
                       : name == "long-float16"          ? 30
                       : name == "two-sequences-float32" ? 160
                       : name == "grouped-bfloat16"      ? 39
                                                         : 40));
}

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
        std::vector<Position> into = most_alike(head, entries, centers, {.least = 0.3});
        for (Position& center : into)
            center = center < 0 ? -1 : centers[static_cast<std::size_t>(center)];
        return merged(head, scores, entries, into);
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

TEST_CASE("ems says wherever it is shown that it is a reconstruction", "[policies][ems]") {
    const PolicyRun run = make_policy("ems");
    for (const std::string_view text : {run.info->summary, run.info->source})
        CHECK_THAT(std::string(text),
                   Catch::Matchers::Contains(
                       "reconstructed from the abstract, the score formula and reviews"));
}
