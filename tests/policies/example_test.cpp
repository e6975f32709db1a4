#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <fstream>
#include <iterator>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace kvtape::policies {
PolicyInfo value_norm();  // tests/policies/value_norm.cpp, the worked example of the documents
}

namespace {

std::string text_of(const std::string& path) {
    std::ifstream file(std::string(KVTAPE_SOURCE_DIR "/") + path);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("the worked example of the documents is a policy like any other", "[policies][example]") {
    const PolicyInfo table[] = {policies::value_norm()};
    const PolicyRun run = make_policy("value_norm:sinks=2", table);
    CHECK(to_text(run.policy->parameters()) == R"({"sinks":2})");
    CHECK(run.policy->needs().values);

    constexpr Shape shape{.layers = 1,
                          .query_heads = 1,
                          .kv_heads = 1,
                          .head_dim = 4,
                          .hidden_size = 4,
                          .softmax_scale = 0.5};
    Layer layer = random_layer(shape, 0, 30, 31, Philox(1));
    for (const std::ptrdiff_t token : {7, 20})
        std::fill_n(layer.data.values.begin() + token * 4, 4, 50.0f);
    const Decision decision = decide(*run.policy, {&layer, 1}, {4, std::nullopt});
    CHECK(decision[{0, 0}] == std::vector<Position>{0, 1, 7, 20});
}

TEST_CASE("the documents show the worked example as it is compiled", "[policies][example]") {
    CHECK(text_of("docs/adding-a-policy.md").find(text_of("tests/policies/value_norm.cpp")) !=
          std::string::npos);
}
