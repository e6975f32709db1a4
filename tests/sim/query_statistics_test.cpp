#include "core/json.hpp"
#include "sim/curve.hpp"
#include "sim/rope.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/synthetic_trace.hpp"
#include "tests/support/twins/queries.hpp"
#include "trace/reader.hpp"

#include <fstream>
#include <iterator>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

const std::string rope = R"({"layout":"half","inv_freq":[1.0,0.3,0.05,0.002]})";

/// A synthetic trace that says how its queries were turned, and may hold their statistics.
class TurnedTrace final : public Trace {
  public:
    enum class Statistics { absent, recorded };

    TurnedTrace(Position window, Statistics statistics, const std::string& text = rope)
        : base_({.window = window}),
          info_(base_.info()),
          statistics_(statistics) {
        info_.rope = text;
    }

    const TraceInfo& info() const override { return info_; }
    std::int32_t sequences() const override { return base_.sequences(); }
    const SequenceInfo& sequence(std::int32_t index) const override {
        return base_.sequence(index);
    }
    LayerParts stored(std::int32_t) const override {
        LayerParts parts = always_recorded;
        parts.query_mean = parts.query_covariance = statistics_ == Statistics::recorded;
        return parts;
    }
    void load(std::int32_t sequence,
              std::int32_t layer,
              const LayerParts& parts,
              LayerData& out) const override {
        base_.load(sequence, layer, parts, out);
        out.query_mean.clear();
        out.query_covariance.clear();
        if (!parts.query_mean)
            return;
        // The whole run is drawn from the seed, whatever was recorded of it.
        const SyntheticTrace all({.window = base_.sequence(sequence).context_len});
        const SequenceInfo& info = all.sequence(sequence);
        const auto found = reference::query_distribution(all.layer(sequence, layer).queries,
                                                         info.query_positions,
                                                         0,
                                                         info_.shape.query_heads,
                                                         info_.shape.head_dim,
                                                         {4, info.context_len},
                                                         rotation_of(info_));
        out.query_mean = found.mean;
        out.query_covariance = found.covariance;
    }
    int loads() const { return base_.loads(); }

  private:
    SyntheticTrace base_;
    TraceInfo info_;
    Statistics statistics_;
};

using Statistics = TurnedTrace::Statistics;

std::string refused(const Trace& trace, const std::string& spec) {
    return refusal(ErrorKind::usage,
                   [&] { decide(request_for(trace), make_policies({spec}), "30%"); });
}

}  // namespace

TEST_CASE("recorded statistics and those of all recorded queries give the same decisions",
          "[sim][statistics]") {
    const auto policies = make_policies({"expected_attention:future=20"});
    const TurnedTrace recorded(16, Statistics::recorded), queries(90, Statistics::absent);
    CHECK(decide(request_for(recorded), policies, "10%,40%") ==
          decide(request_for(queries), policies, "10%,40%"));
    const ReplayTask task{.policy = &policies[0], .budgets = {}};
    const auto curve = [&](const Trace& trace) {
        return curve_table(request_for(trace), {&task, 1}, [](std::int64_t, std::int64_t) {});
    };
    CHECK(curve(recorded) == curve(queries));
}

TEST_CASE("statistics leave out as many sinks as the policy asks", "[sim][statistics]") {
    const TurnedTrace queries(90, Statistics::absent), both(90, Statistics::recorded);
    const auto policies = make_policies({"expected_attention:sinks=9"});
    const Decisions computed = decide(request_for(queries), policies, "30%");
    CHECK(decide(request_for(both), policies, "30%") == computed);
    // Positions 9.. suffice.
    CHECK(decide(request_for(TurnedTrace(81, Statistics::absent)), policies, "30%") == computed);
}

TEST_CASE("statistics that cannot be had are refused before any tensor is read",
          "[sim][statistics]") {
    const TurnedTrace neither(16, Statistics::absent);
    const std::string plain = refused(neither, "expected_attention");
    for (const char* part :
         {"expected_attention", "0000", "4..89", "found 16", "--query-statistics", "--queries all"})
        CHECK(mentions(plain, part));
    CHECK(mentions(refused(neither, "expected_attention:sinks=8"), "record with --queries all"));
    CHECK(!mentions(refused(neither, "expected_attention:sinks=8"), "--query-statistics"));
    const TurnedTrace recorded(16, Statistics::recorded);
    const std::string sinks = refused(recorded, "expected_attention:sinks=8");
    for (const char* part : {"8..89", "leave out 4 sinks, not 8", "use sinks=4"})
        CHECK(mentions(sinks, part));
    CHECK(mentions(refused(TurnedTrace(90, Statistics::absent, "{}"), "expected_attention"),
                   "inv_freq"));
    CHECK(neither.loads() + recorded.loads() == 0);
}

TEST_CASE("frequencies that are none are refused", "[sim][statistics]") {
    for (const std::string text : {R"({"inv_freq":[1.0,-0.5]})",
                                   R"({"inv_freq":[1e300]})",
                                   R"({"inv_freq":[1,1,1,1,1]})",
                                   R"({"inv_freq":"fast"})"}) {
        const TurnedTrace trace(90, Statistics::absent, text);
        refusal(ErrorKind::format,
                [&] { decide(request_for(trace), make_policies({"expected_attention"}), "30%"); });
    }
}

TEST_CASE("policies that read query statistics decide as the published program did on its trace",
          "[sim][statistics][golden]") {
    const std::string path = KVTAPE_SOURCE_DIR "/tests/golden/small-float32";
    const auto trace = open_trace(path + ".kvtape.h5");
    int judged = 0;
    for (const testing::GoldenCase& golden : testing::golden_cases(path + ".json")) {
        if (!make_policy(golden.policy).policy->needs().statistics)
            continue;
        INFO(golden.policy << " at " << golden.budget);
        REQUIRE(golden.schedule == "prefill");
        REQUIRE(golden.query_source == "agnostic");
        const auto policies = make_policies({golden.policy});
        const Decisions decided = decide(request_for(*trace), policies, golden.budget);
        REQUIRE(decided.size() == golden.sequences.size());
        for (const auto& [key, kept] : decided) {
            const auto& layers = golden.sequences.at(trace->sequence(std::get<2>(key)).name);
            for (std::size_t layer = 0; layer < layers.size(); ++layer)
                for (std::size_t head = 0; head < layers[layer].size(); ++head)
                    CHECK(testing::disagreement(layers[layer][head],
                                                kept[{static_cast<std::int32_t>(layer),
                                                      static_cast<std::int32_t>(head)}]) == "");
        }
        ++judged;
    }
    CHECK(judged == 7);
}

TEST_CASE("the golden traces refuse what they cannot feed, sequence by sequence",
          "[sim][statistics][golden]") {
    int refusals = 0;
    for (const testing::GoldenTrace& golden_trace : testing::golden_traces) {
        const std::string path =
            KVTAPE_SOURCE_DIR "/tests/golden/" + std::string(golden_trace.name);
        const auto trace = open_trace(path + ".kvtape.h5");
        std::ifstream file(path + ".json");
        const Json document =
            parse_json(std::string{std::istreambuf_iterator<char>(file), {}}, path);
        for (const Json& entry : document.at("refusals")) {
            const std::string spec = entry.at("policy"), missing = entry.at("missing");
            INFO(golden_trace.name << ": " << spec);
            ReplayRequest request = request_for(*trace);
            std::erase_if(request.sequences, [&](std::int32_t i) {
                return trace->sequence(i).name != entry.at("sequence");
            });
            const std::string message =
                refusal(ErrorKind::usage, [&] { decide(request, make_policies({spec}), "25%"); });
            CHECK(mentions(message, std::string(entry.at("sequence"))));
            // "queries at positions 4..639 are not all recorded" or "... needs a question"
            const std::size_t at = missing.find("positions ");
            const std::string named =
                at == std::string::npos
                    ? "decides with the question, and there is none"
                    : missing.substr(at + 10, missing.find(' ', at + 10) - at - 10);
            CHECK(mentions(message, named));
            ++refusals;
        }
    }
    CHECK(refusals == 35);
}
