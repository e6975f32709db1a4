#include "core/budget.hpp"

#include "core/error.hpp"
#include "tests/support/catch.hpp"

using namespace kvtape;

namespace {

const Shape shape = {.layers = 2,
                     .query_heads = 8,
                     .kv_heads = 4,
                     .head_dim = 64,
                     .hidden_size = 256,
                     .softmax_scale = 0.125,
                     .element_type = ElementType::bfloat16};

std::vector<std::string> texts(const std::vector<Budget>& budgets) {
    std::vector<std::string> spelled;
    for (const Budget& budget : budgets)
        spelled.push_back(budget.text());
    return spelled;
}

}  // namespace

TEST_CASE("a ratio is an exact decimal, not a double", "[core][budget]") {
    for (Position tokens = 100; tokens <= 8192; ++tokens) {
        CHECK(Budget::parse("0.1").tokens_of(tokens, shape) == tokens / 10);
        CHECK(Budget::parse("20%").tokens_of(tokens, shape) == tokens / 5);
    }
    CHECK(Budget::parse("0.29").tokens_of(100, shape) == 29);
    CHECK(Budget::parse("12.5%").ratio() == Ratio{1, 8});
    CHECK(Budget::parse(".5").ratio() == Ratio{1, 2});
    CHECK(Budget::parse("1").tokens_of(77, shape) == 77);
}

TEST_CASE("at least one token is kept and never more than there are", "[core][budget]") {
    CHECK(Budget::parse("0.001").tokens_of(10, shape) == 1);
    CHECK(Budget::parse("128t").tokens_of(10, shape) == 10);
    CHECK(Budget::parse("128t").tokens_of(1000, shape) == 128);
}

TEST_CASE("bytes count keys and values over the whole model", "[core][budget]") {
    // 2 layers x 4 heads x (64 + 64) x 2 bytes = 2048 bytes a token.
    CHECK(Budget::parse("4MiB").tokens_of(100000, shape) == 2048);
    CHECK(Budget::parse("4KiB").tokens_of(100000, shape) == 2);
    CHECK(Budget::parse("2049B").tokens_of(100000, shape) == 1);
    CHECK_THROWS_WITH(Budget::parse("2047B").tokens_of(10, shape),
                      Catch::Matchers::Contains("2048 bytes"));
}

TEST_CASE("budgets that keep nothing, too much or no number are refused", "[core][budget]") {
    for (const char* text : {"0",
                             "0.0",
                             "0%",
                             "0t",
                             "0B",
                             "1.01",
                             "101%",
                             "-1",
                             "-5t",
                             "",
                             "abc",
                             "1e3",
                             "0x4",
                             "1..2",
                             ".",
                             "%",
                             "t",
                             "5 t",
                             "nan",
                             "inf",
                             "1/2",
                             "0.1234567890123456",
                             "99999999999999999999t",
                             "9999999999999GiB"}) {
        INFO(text);
        CHECK_THROWS_AS(Budget::parse(text), Error);
    }
}

TEST_CASE("lists keep their order and ranges are log-spaced with both ends", "[core][budget]") {
    CHECK(texts(parse_budgets("0.5,128t,10%")) == std::vector<std::string>{"0.5", "128t", "10%"});
    CHECK(texts(parse_budgets("1%..64%:4")) ==
          std::vector<std::string>{"1%", "0.04", "0.16", "64%"});
    CHECK(texts(parse_budgets("16t..256t:5")) ==
          std::vector<std::string>{"16t", "32t", "64t", "128t", "256t"});
    CHECK(texts(parse_budgets("1%..50%:8")).size() == 8);
}

TEST_CASE("points of a range that are rounded to the same number count once", "[core][budget]") {
    CHECK(texts(parse_budgets("1t..2t:9")) == std::vector<std::string>{"1t", "2t"});
    CHECK(texts(parse_budgets("1t..4t:9")) == std::vector<std::string>{"1t", "2t", "3t", "4t"});
    CHECK(texts(parse_budgets("1t..10t:20")).size() == 10);
    CHECK(texts(parse_budgets("1B..3B:1000")) == std::vector<std::string>{"1B", "2B", "3B"});
    CHECK(texts(parse_budgets("99.99%..100%:40")).front() == "99.99%");
    CHECK(texts(parse_budgets("99.99%..100%:40")).back() == "100%");
}

TEST_CASE("repeated budgets and broken ranges are refused", "[core][budget]") {
    for (const char* list : {"0.5,50%",
                             "0.1,,0.2",
                             "1%..50%",
                             "50%..1%:3",
                             "1%..10t:3",
                             "1%..50%:1",
                             "2t,1t..4t:9",
                             "1%..50%:x",
                             "..:3",
                             "0.1,"}) {
        INFO(list);
        CHECK_THROWS_AS(parse_budgets(list), Error);
    }
}
