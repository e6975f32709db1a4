#include "sim/replay.hpp"

#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/query_source.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <tuple>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// Keeps the first tokens, `excess` more than it may, and counts what it is asked.
class CountingPolicy final : public Policy {
  public:
    struct Calls {
        int observed = 0;
        int decided = 0;
    };

    CountingPolicy(Calls& calls, Position excess) : calls_(calls), excess_(excess) {}

    Needs needs() const override { return {.keys = true}; }
    Json parameters() const override { return Json::object(); }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<Counting>(calls_, excess_, context.shape);
    }

  private:
    class Counting final : public Session {
      public:
        Counting(Calls& calls, Position excess, const Shape& shape)
            : calls_(calls),
              excess_(excess),
              shape_(shape) {}

        void observe(const LayerView&) override { ++calls_.observed; }
        Decision decide(const Block&, const Limit& limit) const override {
            ++calls_.decided;
            Decision decision(shape_.layers, shape_.kv_heads);
            for (std::int32_t layer = 0; layer < shape_.layers; ++layer)
                for (std::int32_t head = 0; head < shape_.kv_heads; ++head)
                    decision[{layer, head}] = first_numbers(limit.tokens + excess_);
            return decision;
        }

      private:
        Calls& calls_;
        Position excess_;
        Shape shape_;
    };

    Calls& calls_;
    Position excess_;
};

const PolicyInfo counting_info = {.name = "counting"};

PolicyRun counting_policy(CountingPolicy::Calls& calls, Position excess = 0) {
    return {.info = &counting_info,
            .policy = std::make_unique<CountingPolicy>(calls, excess),
            .spec = "counting"};
}

}  // namespace

TEST_CASE("a policy observes each layer once, however many budgets it is cut at", "[sim][replay]") {
    const SyntheticTrace trace({});
    CountingPolicy::Calls calls;
    const PolicyRun policy = counting_policy(calls);
    std::string budgets = "1t";
    for (int tokens = 2; tokens <= 32; ++tokens)
        budgets += ',' + std::to_string(tokens) + 't';
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets(budgets)};
    replay(request_for(trace), std::span(&task, 1), [](const Decided&) {});
    CHECK(calls.observed == 2 * 2);
    CHECK(calls.decided == 2 * 32);
    CHECK(trace.loads() == 2 * 2);
}

TEST_CASE("decisions do not depend on threads", "[sim][replay]") {
    const SyntheticTrace trace({});
    const auto policies =
        make_policies({"random", "snapkv:window=32", "h2o", "lagkv:lag=16", "ems:window=8"});
    ReplayRequest request = request_for(trace);
    const Decisions alone = decide(request, policies, "10%,50%");
    REQUIRE(alone.size() == 5 * 2 * 2);
    for (const int threads : {2, 7}) {
        request.threads = threads;
        CHECK(decide(request, policies, "10%,50%") == alone);
    }
}

TEST_CASE("decisions do not depend on which policies and budgets are replayed with them",
          "[sim][replay]") {
    const SyntheticTrace trace({});
    const ReplayRequest request = request_for(trace);
    const Decisions together =
        decide(request, make_policies({"random", "tova", "ems:window=8", "knorm"}), "10%,30%,50%");
    CHECK(decide(request,
                 make_policies({"ems:window=8", "knorm", "random", "tova"}),
                 "50%,10%,30%") == together);
    for (const auto& [key, decision] : decide(request, make_policies({"random"}), "30%"))
        CHECK(together.at(key) == decision);
}

TEST_CASE("another seed moves what is drawn at random, and nothing else", "[sim][replay]") {
    const SyntheticTrace trace({});
    ReplayRequest request = request_for(trace);
    const Decisions before = decide(request, make_policies({"random", "knorm"}), "30%");
    request.seed = 1;
    const Decisions after = decide(request, make_policies({"random", "knorm"}), "30%");
    for (const auto& [key, decision] : before)
        CHECK((after.at(key) == decision) == (std::get<0>(key) == "knorm"));
}

TEST_CASE("random keeps every token with the same probability", "[sim][replay]") {
    SyntheticSize size;
    size.sequences = 20;
    const SyntheticTrace trace(size);
    std::vector<int> kept(static_cast<std::size_t>(size.context));
    int draws = 0;
    for (const auto& [key, decision] : decide(request_for(trace), make_policies({"random"}), "30t"))
        for (std::int32_t layer = 0; layer < decision.layers(); ++layer)
            for (std::int32_t head = 0; head < decision.kv_heads(); ++head, ++draws)
                for (const Position position : decision[{layer, head}])
                    ++kept[static_cast<std::size_t>(position)];
    REQUIRE(draws == 80);
    // 80 draws with probability 1/3: five standard deviations for each of 90 tokens.
    const double expected = draws / 3.0, deviation = std::sqrt(draws * 2.0 / 9.0);
    for (const int count : kept)
        CHECK(std::abs(count - expected) < 5.0 * deviation);
}

TEST_CASE("replay keeps what published programs keep on the golden traces",
          "[sim][replay][golden]") {
    for (const testing::GoldenTrace& golden_trace : testing::golden_traces) {
        const std::string path =
            KVTAPE_SOURCE_DIR "/tests/golden/" + std::string(golden_trace.name);
        const auto trace = open_trace(path + ".kvtape.h5");
        int judged = 0;
        for (const auto& golden : testing::golden_cases(path + ".json")) {
            INFO(golden_trace.name << ": " << golden.policy << " at " << golden.budget << " ("
                                   << golden.authority << ")");
            CHECK(!golden.authority.empty());
            ReplayRequest request = request_for(*trace);
            request.seed = golden.seed;
            request.source = testing::source_named(golden.query_source);
            std::erase_if(request.sequences, [&](std::int32_t i) {
                return !golden.sequences.contains(trace->sequence(i).name);
            });
            REQUIRE(request.sequences.size() == golden.sequences.size());
            for (const auto& [key, decision] :
                 decide(request, make_policies({golden.policy}), golden.budget)) {
                const auto& expected = golden.sequences.at(trace->sequence(std::get<2>(key)).name);
                for (std::int32_t layer = 0; layer < decision.layers(); ++layer)
                    for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
                        const auto& wanted = expected[static_cast<std::size_t>(layer)]
                                                     [static_cast<std::size_t>(head)];
                        CHECK(testing::disagreement(wanted, decision[{layer, head}]) == "");
                        judged += wanted.uncertain ? 0 : 1;
                    }
            }
        }
        INFO(golden_trace.name);
        CHECK(judged == golden_trace.heads);
    }
}

TEST_CASE("a window longer than what was recorded is refused before any tensor is read",
          "[sim][replay]") {
    SyntheticSize size;
    size.window = 16;
    const SyntheticTrace trace(size);
    const auto policies = make_policies({"snapkv:window=32"});
    const std::string message =
        refusal(ErrorKind::usage, [&] { decide(request_for(trace), policies, "30%"); });
    CHECK(mentions(message, "snapkv:window=32"));
    CHECK(mentions(message, "0000"));
    CHECK(mentions(message, "--queries last=32"));
    CHECK(mentions(message, "datasets queries and logsumexp"));
    CHECK(trace.loads() == 0);
}

TEST_CASE("layers that the model does not have are refused before any tensor is read",
          "[sim][replay]") {
    const SyntheticTrace trace({});
    const std::string message = refusal(ErrorKind::usage, [&] {
        decide(request_for(trace), make_policies({"lagkv:lag=8,skip=1+2"}), "30%");
    });
    CHECK(message ==
          "replaying lagkv:lag=8,skip=1+2: skip names layer 2, but the model has the layers 0..1");
    CHECK(trace.loads() == 0);
    CHECK(!decide(request_for(trace), make_policies({"lagkv:lag=8,skip=1"}), "30%").empty());
}

TEST_CASE("the question cannot vote where there is none, nor the future where nothing follows",
          "[sim][replay]") {
    SyntheticSize size;
    size.question = 0;
    size.generated = 0;
    const SyntheticTrace trace(size);
    ReplayRequest request = request_for(trace);
    request.source = QuerySource::question;
    refusal(ErrorKind::usage, [&] { decide(request, make_policies({"snapkv"}), "30%"); });
    request.source = QuerySource::agnostic;
    refusal(ErrorKind::usage, [&] { decide(request, make_policies({"oracle"}), "30%"); });
    CHECK(trace.loads() == 0);
}

TEST_CASE("a policy that keeps more than its budget is a bug that is named", "[sim][replay]") {
    const SyntheticTrace trace({});
    CountingPolicy::Calls calls;
    const PolicyRun policy = counting_policy(calls, 1);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets("10t")};
    const std::string message = refusal(ErrorKind::internal, [&] {
        replay(request_for(trace), std::span(&task, 1), [](const Decided&) {});
    });
    CHECK(mentions(message, "counting"));
    CHECK(mentions(message, "11 tokens"));
}

TEST_CASE("a policy that keeps fewer tokens than its exact budget is a bug that is named",
          "[sim][replay]") {
    const SyntheticTrace trace({});
    CountingPolicy::Calls calls;
    const PolicyRun policy = counting_policy(calls, -1);
    const ReplayTask task{.policy = &policy, .budgets = parse_budgets("10t")};
    CHECK(mentions(
        refusal(ErrorKind::internal,
                [&] { replay(request_for(trace), std::span(&task, 1), [](const Decided&) {}); }),
        "9 tokens"));
}
