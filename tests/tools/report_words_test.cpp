#include "tests/support/catch.hpp"
#include "tests/support/count.hpp"
#include "tools/report/data.hpp"
#include "tools/report/optional_table.hpp"

#include <cmath>
#include <string>

using namespace kvtape;
using testing::count;

TEST_CASE("data inside a script element cannot end it", "[tools][report]") {
    const std::string hostile = "</script><!--<script>&amp;\u2028\u2029\"\\";
    const std::string safe = report::script_safe(Json{{hostile, hostile}});
    CHECK(safe.find_first_of("<>&") == std::string::npos);
    CHECK(count(safe, "\u2028") + count(safe, "\u2029") == 0);
    CHECK(Json::parse(safe)[hostile] == hostile);
}

TEST_CASE("token texts are visible and short", "[tools][report]") {
    CHECK(report::token_text(std::string_view("a\0b\u202ec\u0627😀", 13), 96) ==
          "a\u2400b[U+202E]c\u0627😀");
    CHECK(report::token_text(std::string(10'000, 'x'), 8) == "xxxxxxxx… (10000 bytes)");
    CHECK(report::token_text("😀😀😀", 6) == "😀… (12 bytes)");
}

TEST_CASE("figures of a page round to two decimals as they would at once", "[tools][report]") {
    CHECK(report::rounded(0.0648) == 0.06480);
    CHECK(report::rounded(0.1234) == 0.123);
    CHECK(report::rounded(-0.3049) == -0.3049);
    CHECK(report::rounded(std::nan("")).is_null());
}
