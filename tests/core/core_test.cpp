#include "core/error.hpp"
#include "core/half.hpp"
#include "core/json.hpp"
#include "core/parallel.hpp"
#include "core/philox.hpp"
#include "core/reduce.hpp"
#include "core/topk.hpp"
#include "tests/support/catch.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <string>

using namespace kvtape;

TEST_CASE("Philox gives the Random123 known answers", "[core][philox]") {
    CHECK(Philox(0, 0).block(0) ==
          std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    const std::uint64_t ones = ~std::uint64_t{0};
    CHECK(Philox(ones, ones).block(ones) ==
          std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    // counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0
    CHECK(Philox(0x299f31d0a4093822, 0x0370734413198a2e).block(0x85a308d3243f6a88) ==
          std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform numbers are inside the open interval and average to a half", "[core][philox]") {
    const Philox random(3, 9);
    double sum = 0.0;
    for (std::uint64_t i = 0; i < 20000; ++i) {
        const double x = random.uniform(i);
        CHECK((x > 0.0 && x < 1.0));
        sum += x;
        CHECK(random.below(i, 7) < 7);
    }
    CHECK(sum / 20000 == Approx(0.5).margin(0.01));
    CHECK(random.uniform(5) != random.with_stream(10).uniform(5));
}

TEST_CASE("half and bfloat16 agree with Eigen on all 65,536 values and round trip",
          "[core][half]") {
    for (std::uint32_t i = 0; i < 65536; ++i) {
        const std::uint16_t bits = static_cast<std::uint16_t>(i);
        float half = 0.0f, brain = 0.0f;
        float16_to_float({&bits, 1}, {&half, 1});
        bfloat16_to_float({&bits, 1}, {&brain, 1});
        const float eigen_half = static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits));
        const float eigen_brain =
            static_cast<float>(Eigen::numext::bit_cast<Eigen::bfloat16>(bits));
        if (std::isnan(eigen_half)) {
            CHECK(std::isnan(half));
        } else {
            std::uint16_t back = 0;
            float_to_float16({&half, 1}, {&back, 1});
            if (std::bit_cast<std::uint32_t>(half) != std::bit_cast<std::uint32_t>(eigen_half) ||
                back != bits)
                FAIL("half " << i);
        }
        if (std::isnan(eigen_brain)) {
            CHECK(std::isnan(brain));
        } else {
            std::uint16_t back = 0;
            float_to_bfloat16({&brain, 1}, {&back, 1});
            if (std::bit_cast<std::uint32_t>(brain) != std::bit_cast<std::uint32_t>(eigen_brain) ||
                back != bits)
                FAIL("bfloat16 " << i);
        }
    }
    SUCCEED("all values agree");
}

TEST_CASE("rounding to half and bfloat16 is to nearest, ties to even", "[core][half]") {
    const Philox random(1, 2);
    for (std::uint64_t i = 0; i < 300000; ++i) {
        const float value = std::bit_cast<float>(random.block(i)[0]);
        if (std::isnan(value))
            continue;
        std::uint16_t half = 0, brain = 0;
        float_to_float16({&value, 1}, {&half, 1});
        float_to_bfloat16({&value, 1}, {&brain, 1});
        const auto expected_half = Eigen::numext::bit_cast<std::uint16_t>(Eigen::half(value));
        const auto expected_brain = Eigen::numext::bit_cast<std::uint16_t>(Eigen::bfloat16(value));
        if (half != expected_half || brain != expected_brain)
            FAIL("value " << value);
    }
    for (const float value :
         {65504.0f, 65519.99f, 65520.0f, 6.1e-5f, 5.97e-8f, 2.98e-8f, 2.99e-8f, -0.0f}) {
        std::uint16_t half = 0;
        float_to_float16({&value, 1}, {&half, 1});
        CHECK(half == Eigen::numext::bit_cast<std::uint16_t>(Eigen::half(value)));
    }
}

TEST_CASE("decode inverts encode for every element type", "[core][half]") {
    const std::vector<float> values = {0.0f, -1.5f, 3.25f, 1024.0f};
    for (const ElementType type :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16}) {
        std::vector<std::byte> stored(values.size() * static_cast<std::size_t>(bytes_of(type)));
        std::vector<float> back(values.size());
        encode(type, values, stored);
        decode(type, stored, back);
        CHECK(back == values);
        round_to(type, back);
        CHECK(back == values);
        CHECK_THROWS_AS(decode(type, std::span(stored).subspan(1), back), Error);
    }
}

TEST_CASE("equal scores keep the lower position", "[core][topk]") {
    const std::vector<float> scores = {1.0f, 3.0f, 3.0f, 0.0f, 3.0f, -0.0f};
    CHECK(select_top(scores, 2) == std::vector<Position>{1, 2});
    CHECK(select_top(scores, 4) == std::vector<Position>{0, 1, 2, 4});
    CHECK(select_top(scores, 5) == std::vector<Position>{0, 1, 2, 3, 4});
    CHECK(rank(scores) == std::vector<Position>{1, 2, 4, 0, 3, 5});
    CHECK(places(rank(scores)) == std::vector<Position>{3, 0, 1, 4, 2, 5});
}

TEST_CASE("selection clamps its count and orders infinities", "[core][topk]") {
    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> scores = {-infinity, 2.0f, infinity};
    CHECK(select_top(scores, -3).empty());
    CHECK(select_top(scores, 99) == std::vector<Position>{0, 1, 2});
    CHECK(select_top(scores, 1) == std::vector<Position>{2});
    CHECK(select_top({}, 3).empty());
}

TEST_CASE("selection equals a sort for random scores with many ties", "[core][topk]") {
    const Philox random(5);
    for (std::uint64_t round = 0; round < 200; ++round) {
        // the longest are sorted another way
        std::vector<float> scores(1 + random.below(round, round % 10 == 0 ? 5000 : 300));
        for (std::size_t i = 0; i < scores.size(); ++i)
            scores[i] = static_cast<float>(random.with_stream(round + 1).below(i, 9)) - 4.0f;
        const std::vector<Position> order = rank(scores);
        for (std::size_t i = 1; i < order.size(); ++i) {
            const auto a = static_cast<std::size_t>(order[i - 1]),
                       b = static_cast<std::size_t>(order[i]);
            REQUIRE((scores[a] > scores[b] || (scores[a] == scores[b] && a < b)));
        }
        const std::ptrdiff_t count = random.below(round, 5100);
        std::vector<Position> best(
            order.begin(), order.begin() + std::min<std::ptrdiff_t>(count, std::ssize(order)));
        std::sort(best.begin(), best.end());
        REQUIRE(select_top(scores, count) == best);
    }
}

TEST_CASE("a score that is not a number is an error, not an order", "[core][topk]") {
    const std::vector<float> scores = {1.0f, std::nanf("")};
    CHECK_THROWS_AS(select_top(scores, 1), Error);
    CHECK_THROWS_AS(rank(scores), Error);
}

TEST_CASE("the failure of the lowest index is the one reported", "[core][parallel]") {
    for (const int threads : {1, 2, 7}) {
        std::vector<int> done(100);
        try {
            parallel_for(100, threads, [&](std::size_t i) {
                if (i % 30 == 20)
                    throw format_error("item " + std::to_string(i));
                done[i] = 1;
            });
            FAIL("nothing was thrown");
        } catch (const Error& error) {
            CHECK(std::string(error.what()) == "item 20");
        }
        CHECK(done[99] == 1);
    }
}

TEST_CASE("errors carry their context on one line", "[core][error]") {
    Error error = format_error("found\n3");
    error.add("reading x");
    CHECK(std::string(error.what()) == "reading x: found 3");
    CHECK(error.kind() == ErrorKind::format);
}

TEST_CASE("near misses are suggested and far ones are not", "[core][error]") {
    const std::vector<std::string_view> known = {"snapkv", "lagkv", "knorm"};
    CHECK(nearest("snapvk", known) == "snapkv");
    CHECK(nearest("lakv", known) == "lagkv");
    CHECK(nearest("SNAPKV", known) == "snapkv");
    CHECK(nearest("LagKV", known) == "lagkv");
    CHECK(nearest("completely", known).empty());
    CHECK(nearest("x", {}).empty());
}

TEST_CASE("ordered sums do not lose small terms and quantiles interpolate", "[core][reduce]") {
    std::vector<float> values(100000, 0.1f);
    CHECK(ordered_sum(values) == Approx(100000 * static_cast<double>(0.1f)).epsilon(1e-12));
    CHECK(quantile({4.0, 1.0, 3.0, 2.0}, 0.5) == 2.5);
    CHECK(quantile({1.0, 2.0, 3.0, 4.0}, 0.95) == Approx(3.85));
    CHECK(quantile({}, 0.5) == 0.0);
    CHECK(ordered_mean(std::vector<double>{1.0, 2.0}) == 1.5);
}

TEST_CASE("JSON is strict about duplicates, depth, tails and encoding", "[core][json]") {
    CHECK(parse_json(R"({"b": [1, {"a": 2}], "a": null})", "x")["b"][1]["a"] == 2);
    CHECK_THROWS_AS(parse_json(R"({"a": 1, "a": 2})", "x"), Error);
    CHECK_THROWS_AS(parse_json(R"([{"a": {"b": 1, "b": 1}}])", "x"), Error);
    CHECK_THROWS_AS(parse_json("{} {}", "x"), Error);
    CHECK_THROWS_AS(parse_json("", "x"), Error);
    CHECK_THROWS_AS(parse_json("\"\xff\"", "x"), Error);
    CHECK_THROWS_AS(parse_json(std::string(100000, '['), "x"), Error);
    CHECK(to_text(Json{{"b", 1}, {"a", "x"}}) == R"({"a":"x","b":1})");
}

TEST_CASE("what is not JSON is refused with its place and no library's words", "[core][json]") {
    const auto refusal = [](std::string_view text) -> std::string {
        try {
            parse_json(text, "model.json");
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    const std::string what = "reading model.json: not valid JSON: ";
    CHECK(refusal("{\n \"a\": 1,\n}") ==
          what + "line 3, column 1 has '}' where JSON cannot have it; correct it");
    CHECK(refusal("{\n!") ==
          what + "line 2, column 1 has '!' where JSON cannot have it; correct it");
    CHECK(refusal("nul!") == what + "column 4 has '!' where JSON cannot have it; correct it");
    CHECK(refusal("\"\xff\"") ==
          what + "column 2 has byte 0xff where JSON cannot have it; correct it");
    CHECK(refusal("") == what + "it ends too early, after 0 bytes; correct it");
    CHECK(refusal("{\"a\": [1, 2") == what + "it ends too early, after 11 bytes; correct it");
    CHECK(refusal("1e999") == what + "it holds a number too large to be read; correct it");
}
