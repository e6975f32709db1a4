#include "core/error.hpp"
#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/layer.hpp"

#include <cmath>
#include <limits>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

constexpr Shape shape{.layers = 2,
                      .query_heads = 4,
                      .kv_heads = 2,
                      .head_dim = 16,
                      .hidden_size = 64,
                      .softmax_scale = 0.25};

/// What a policy says about two layers when `spoil` has been at the second.
template <typename Spoil>
std::string complaint(std::string_view spec, const Spoil& spoil) {
    std::vector<Layer> layers = {random_layer(shape, 0, 90, 95, Philox(1)),
                                 random_layer(shape, 1, 90, 95, Philox(1))};
    spoil(layers[1].data);
    const PolicyRun run = make_policy(spec);
    try {
        decide(*run.policy, layers, {20, std::nullopt}, {.threads = 2});
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::format);
        return error.what();
    }
    return "accepted";
}

/// The index of a number of token `position` in KV head 1.
std::size_t entry(Position position) {
    return static_cast<std::size_t>((95 + position) * 16 + 3);
}

bool says(const std::string& message, const std::string& part) {
    return message.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a number that is not finite is a format error that says where it stands",
          "[policies][bad-input]") {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        for (const char* spec : {"knorm",
                                 "tova",
                                 "snapkv:window=8",
                                 "lagkv:lag=16",
                                 "oracle",
                                 "lagkv:lag=16,compat=kvpress"}) {
            INFO(spec);
            const std::string message =
                complaint(spec, [&](LayerData& data) { data.keys[entry(40)] = bad; });
            CHECK(says(message, "layer 1, KV head 1: the keys at position 40"));
        }
        CHECK(
            says(complaint("lagkv:lag=16", [&](LayerData& data) { data.values[entry(50)] = bad; }),
                 "KV head 1: the values at position 50"));
        CHECK(says(
            complaint("tova", [&](LayerData& data) { data.queries[(3 * 95 + 89) * 16] = bad; }),
            "KV head 1: the queries at position 89"));
        CHECK(says(complaint("h2o", [&](LayerData& data) { data.column_sums[3 * 95 + 7] = bad; }),
                   "KV head 1: the column sums at position 7"));
    }
    CHECK(says(complaint("oracle", [](LayerData& data) { data.logsumexp[3 * 95 + 91] = NAN; }),
               "KV head 1: the row normalisers at position 91"));
}

TEST_CASE("finite numbers too large for float32 scores are a format error too",
          "[policies][bad-input]") {
    for (const char* spec : {"knorm", "lagkv:lag=16"}) {
        INFO(spec);
        const std::string message = complaint(spec, [](LayerData& data) {
            data.keys[entry(40)] = 3e38f;
            data.keys[entry(41)] = -3e38f;
        });
        CHECK(says(message, "too large to score"));
    }
}
