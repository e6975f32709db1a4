#include "sim/replay.hpp"
#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <map>
#include <string>
#include <tuple>
#include <vector>

using namespace kvtape;
using namespace kvtape::tests;

TEST_CASE("variants that follow kvpress keep what kvpress keeps, at most one token less",
          "[sim][replay]") {
    const SyntheticTrace trace({.context = 100});
    int shorter = 0;
    for (int percent = 1; percent <= 100; ++percent) {
        const std::string budget = std::to_string(percent) + '%';
        for (const auto& [key, decision] :
             decide(request_for(trace), make_policies({"knorm:compat=kvpress"}), budget)) {
            const std::ptrdiff_t kept = std::ssize(decision[{0, 0}]);
            CHECK((kept == percent || kept == percent - 1));
            shorter += kept < percent ? 1 : 0;
        }
    }
    CHECK(shorter > 0);
}

TEST_CASE("skipped layers of knorm keep everything, the others their budget", "[sim][replay]") {
    const SyntheticTrace trace({.sequences = 1, .context = 100});
    const Decisions decisions = decide(request_for(trace), make_policies({"knorm:skip=1"}), "0.1");
    const Decision& decision = decisions.begin()->second;
    REQUIRE(decision.layers() > 1);
    for (std::int32_t layer = 0; layer < decision.layers(); ++layer)
        for (std::int32_t head = 0; head < decision.kv_heads(); ++head)
            CHECK(std::ssize(decision[{layer, head}]) == (layer == 1 ? 100 : 10));
    const std::string message = refusal(ErrorKind::usage, [&] {
        decide(request_for(trace), make_policies({"knorm:skip=99"}), "0.1");
    });
    CHECK(mentions(message, "skip names layer 99"));
}

TEST_CASE("an empty context keeps nothing, in the arithmetic of kvpress too", "[sim][replay]") {
    const SyntheticTrace trace(
        {.sequences = 1, .context = 0, .question = 9, .needle_begin = 0, .needle_end = 0});
    const std::vector<std::string> specs = {"knorm:compat=kvpress",
                                            "tova:compat=kvpress",
                                            "snapkv:compat=kvpress",
                                            "lagkv:compat=kvpress",
                                            "lagkv:compat=kvpress,cross=1",
                                            "knorm",
                                            "lagkv",
                                            "full"};
    const Decisions decisions = decide(request_for(trace), make_policies(specs), "0.1,64t,1");
    CHECK(decisions.size() == specs.size() * 3);
    for (const auto& [key, decision] : decisions) {
        INFO(std::get<0>(key) << " at " << std::get<1>(key));
        for (std::int32_t layer = 0; layer < decision.layers(); ++layer)
            for (std::int32_t head = 0; head < decision.kv_heads(); ++head)
                CHECK(decision[{layer, head}].empty());
    }
}

TEST_CASE("an exact budget is met to the token beyond 512 tokens of context", "[sim][replay]") {
    for (const Position context : {513, 777, 1025}) {
        SyntheticSize size{.sequences = 1, .context = context};
        size.shape.layers = 1;
        const SyntheticTrace trace(size);
        const Decisions decisions =
            decide(request_for(trace), make_policies({"knorm", "h2o", "snapkv"}), "0.1,0.29,513t");
        const std::map<std::string, Position> expected = {
            {"0.1", context / 10}, {"0.29", context * 29 / 100}, {"513t", 513}};
        CHECK(decisions.size() == 9);
        for (const auto& [key, decision] : decisions) {
            INFO(std::get<0>(key) << " at " << std::get<1>(key) << " of " << context);
            for (std::int32_t head = 0; head < decision.kv_heads(); ++head)
                CHECK(std::ssize(decision[{0, head}]) == expected.at(std::get<1>(key)));
        }
    }
}
