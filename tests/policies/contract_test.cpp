#include "core/kernels.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <algorithm>
#include <cmath>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 2,
                      .query_heads = 6,
                      .kv_heads = 3,
                      .head_dim = 24,
                      .hidden_size = 144,
                      .softmax_scale = 0.2};

const std::vector<Layer>& layers() {
    static const std::vector<Layer> made = {random_layer(shape, 0, 301, 313, Philox(11)),
                                            random_layer(shape, 1, 301, 313, Philox(11))};
    return made;
}

/// Every policy that its defaults make, and variants that take other paths.
std::vector<std::string> specs() {
    std::vector<std::string> list;
    for (const PolicyInfo& info : policies::all())
        if (!reads_file(info))
            list.emplace_back(info.name);
    for (const char* variant : {"lagkv:lag=32,sinks=4",
                                "lagkv:lag=32,compat=kvpress",
                                "lagkv:lag=32,cross=1,compat=kvpress",
                                "lagkv:lag=16,skip=1",
                                "laser_kv:mode=recursive,selector=lsh",
                                "laser_kv:lsh=frequency_rank,window_softmax=1",
                                "snapkv:window=16,pool=max,group=before",
                                "knorm:compat=kvpress",
                                "rerotate(tova)",
                                "streaming_llm:sinks=40",
                                "snapkv:window=400",
                                "expected_attention:covariance=0,future=9,sinks=0",
                                "criticalkv(expected_attention):stage1=0.3",
                                "criticaladakv(h2o):compat=kvpress",
                                "dropkv:window=7",
                                "kvzip:plus=1",
                                "kvzip:layerwise=1",
                                "snapkv:window=16,votes=sum,reduce=max",
                                "lagkv:lag=32,score=local",
                                "lagkv:lag=32,score=l2,skip=0",
                                "paged(knorm):block=7,reduce=mean",
                                "h2o:variant=factory",
                                "h2o:variant=global_oracle",
                                "h2o:variant=normalised,grace=8",
                                "h2o:variant=value_norm"})
        list.emplace_back(variant);
    return list;
}

const std::vector<std::string> budgets{"1t", "5t", "2%", "10%", "64t", "25%", "50%", "90%", "100%"};

Limit limit(const std::string& budget) {
    return limit_of(budget, layers()[0].context_len, shape);
}

/// The budget rule binds a policy without `compat`.
BudgetRule rule_of(const PolicyRun& run) {
    return run.spec.find("compat") == std::string::npos ? run.info->budget_rule : BudgetRule::own;
}

void check_keep(const std::vector<Position>& keep, Position tokens, BudgetRule rule) {
    CHECK(std::is_sorted(keep.begin(), keep.end()));
    CHECK(std::adjacent_find(keep.begin(), keep.end()) == keep.end());
    if (!keep.empty()) {
        CHECK(keep.front() >= 0);
        CHECK(keep.back() < layers()[0].context_len);
    }
    if (rule == BudgetRule::exact)
        CHECK(std::ssize(keep) == tokens);
    if (rule == BudgetRule::at_most)
        CHECK(std::ssize(keep) <= tokens);
}

template <typename Check>
void for_each_head(const Decision& decision, const Check& check) {
    for (std::int32_t layer = 0; layer < decision.layers(); ++layer)
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
            INFO("layer " << layer << ", KV head " << head);
            check(HeadId{layer, head});
        }
}

}  // namespace

TEST_CASE("what is kept is ascending, in range and within the budget", "[policies][contract]") {
    for (const std::string& spec : specs()) {
        const PolicyRun run = make_policy(spec);
        const auto session = observed_session(*run.policy, layers());
        for (const std::string& budget : budgets) {
            INFO(spec << " at " << budget);
            const Decision decision = session->decide({0, 301, false}, limit(budget));
            REQUIRE(decision.layers() == 2);
            REQUIRE(decision.kv_heads() == 3);
            for_each_head(decision, [&](HeadId id) {
                check_keep(decision[id], limit(budget).tokens, rule_of(run));
            });
        }
    }
}

TEST_CASE("a smaller budget keeps a subset where the policy says so", "[policies][contract]") {
    for (const std::string& spec : specs()) {
        const PolicyRun run = make_policy(spec);
        if (!run.info->nested)
            continue;
        const auto session = observed_session(*run.policy, layers());
        for (const char* unit : {"t", "%"})
            for (int amount = 1; amount < 100; amount += 3) {
                INFO(spec << " at " << amount << unit);
                const auto at = [&](int count) {
                    return session->decide({0, 301, false}, limit(std::to_string(count) + unit));
                };
                const Decision small = at(amount), large = at(amount + 1);
                for_each_head(small, [&](HeadId id) {
                    CHECK(std::includes(
                        large[id].begin(), large[id].end(), small[id].begin(), small[id].end()));
                });
            }
    }
}

TEST_CASE("decisions and scores are the same bits for any threads and instruction set",
          "[policies][contract]") {
    const Isa best = active_isa();
    for (const std::string& spec : specs()) {
        const PolicyRun run = make_policy(spec);
        const auto reference = observed_session(*run.policy, layers());
        for (const Isa isa : {Isa::avx2, Isa::avx512})
            for (const int threads : {1, 2, 7}) {
                if (!supports(isa))
                    continue;
                INFO(spec << " with " << threads << " threads on " << name_of(isa));
                use_isa(isa);
                const auto session = observed_session(*run.policy, layers(), {.threads = threads});
                CHECK(session->decide({}, limit("25%")) == reference->decide({}, limit("25%")));
                const auto a = session->scores({1, 2}, limit("25%"));
                const auto b = reference->scores({1, 2}, limit("25%"));
                CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
                    return x == y || (std::isnan(x) && std::isnan(y));
                }));
            }
        use_isa(best);
    }
}

TEST_CASE("heads are judged alone: permuting them permutes the decision", "[policies][contract]") {
    const std::vector<std::int32_t> from{2, 0, 1};
    constexpr std::size_t projected = shape.query_heads * shape.head_dim;
    std::vector<Layer> permuted = layers();
    for (std::size_t number = 0; number < permuted.size(); ++number) {
        const auto move = [&](const std::vector<float>& source, std::vector<float>& target) {
            const std::size_t size = source.size() / from.size();
            for (std::size_t head = 0; head < from.size(); ++head)
                std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(
                                                 static_cast<std::size_t>(from[head]) * size),
                            size,
                            target.begin() + static_cast<std::ptrdiff_t>(head * size));
        };
        const LayerData& data = layers()[number].data;
        move(data.keys, permuted[number].data.keys);
        move(data.values, permuted[number].data.values);
        move(data.queries, permuted[number].data.queries);
        move(data.logsumexp, permuted[number].data.logsumexp);
        move(data.outputs, permuted[number].data.outputs);
        move(data.column_sums, permuted[number].data.column_sums);
        move(data.replay_queries, permuted[number].data.replay_queries);
        move(data.replay_logsumexp, permuted[number].data.replay_logsumexp);
        const std::vector<float>& projection = layers()[number].output_projection;
        for (std::size_t row = 0; row < projection.size(); row += projected)
            for (std::size_t head = 0; head < from.size(); ++head)
                std::copy_n(projection.begin() +
                                static_cast<std::ptrdiff_t>(
                                    row + static_cast<std::size_t>(from[head]) * projected / 3),
                            projected / 3,
                            permuted[number].output_projection.begin() +
                                static_cast<std::ptrdiff_t>(row + head * projected / 3));
    }
    for (const std::string& spec : specs()) {
        // random numbers belong to a head; tova and laser_kv add the heads up, in their order
        if (spec == "random" || spec == "tova" || spec.rfind("laser_kv", 0) == 0)
            continue;
        INFO(spec);
        const PolicyRun run = make_policy(spec);
        const Decision straight = decide(*run.policy, layers(), limit("20%"));
        const Decision moved = decide(*run.policy, permuted, limit("20%"));
        for_each_head(straight, [&](HeadId id) {
            CHECK(moved[id] == straight[{id.layer, from[static_cast<std::size_t>(id.head)]}]);
        });
    }
}

TEST_CASE("every source of queries gives a decision within the budget", "[policies][contract]") {
    for (const std::string& spec : specs())
        for (const QuerySource source : {QuerySource::question, QuerySource::oracle}) {
            INFO(spec << " with queries from the " << name_of(source));
            const PolicyRun run = make_policy(spec);
            const Decision decision =
                decide(*run.policy, layers(), limit("25%"), {.source = source});
            for_each_head(decision, [&](HeadId id) {
                check_keep(decision[id], limit("25%").tokens, rule_of(run));
            });
        }
}

TEST_CASE("scores belong to what is held, and the kept ones are never worse than the others",
          "[policies][contract]") {
    for (const std::string& spec : specs()) {
        if (spec.rfind("lagkv", 0) == 0)  // compares inside partitions
            continue;
        INFO(spec);
        const PolicyRun run = make_policy(spec);
        const auto session = observed_session(*run.policy, layers());
        const std::vector<float> scores = session->scores({0, 1}, limit("30%"));
        if (scores.empty())
            continue;
        REQUIRE(scores.size() == 301);
        const Decision decision = session->decide({}, limit("30%"));
        float worst_kept = INFINITY, best_evicted = -INFINITY;
        const auto& keep = decision[{0, 1}];
        for (Position entry = 0; entry < 301; ++entry) {
            const float score = scores[static_cast<std::size_t>(entry)];
            if (std::binary_search(keep.begin(), keep.end(), entry))
                worst_kept = std::min(worst_kept, score);
            else if (!std::isnan(score))
                best_evicted = std::max(best_evicted, score);
        }
        CHECK(worst_kept >= best_evicted);
    }
}

TEST_CASE("short contexts and the whole budget are no special cases", "[policies][contract]") {
    for (const Position context : {1, 2, 3, 17})
        for (const std::string& spec : specs()) {
            const std::vector<Layer> tiny = {
                random_layer(shape, 0, context, context + 2, Philox(5))};
            const PolicyRun run = make_policy(spec);
            for (const Position tokens : {1, 2, 17}) {
                INFO(spec << " keeps " << tokens << " of " << context);
                const Limit kept{std::min(tokens, context), std::nullopt};
                const Decision decision = decide(*run.policy, tiny, kept);
                for_each_head(decision, [&](HeadId id) {
                    CHECK(decision[id].size() <= static_cast<std::size_t>(context));
                    if (rule_of(run) == BudgetRule::exact)
                        CHECK(std::ssize(decision[id]) == kept.tokens);
                });
            }
        }
}
