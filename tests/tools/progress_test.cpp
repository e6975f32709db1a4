#include "tools/progress.hpp"

#include "tests/support/catch.hpp"

using namespace kvtape;

TEST_CASE("Durations are rounded up and written with two units at most", "[tools][progress]") {
    CHECK(duration_text(-3.0) == "0 s");
    CHECK(duration_text(0.2) == "1 s");
    CHECK(duration_text(59.0) == "59 s");
    CHECK(duration_text(59.1) == "1 min 00 s");
    CHECK(duration_text(245.0) == "4 min 05 s");
    CHECK(duration_text(7620.0) == "2 h 07 min");
}

TEST_CASE("A running model is told of by the token it has come to", "[tools][progress]") {
    CHECK(model_progress("where", 512, 1040) == "where, token 512 of 1040 of the prompt");
    CHECK(model_progress("where", 1040, 1040) == "where, token 1 of the answer");
    CHECK(model_progress("passkey:digits=5", 43, 40) == "passkey:digits=5, token 4 of the answer");
}

TEST_CASE("A bar is filled by the share that is done", "[tools][progress]") {
    CHECK(bar_text(0, 4, 4) == "[>   ]");
    CHECK(bar_text(2, 4, 4) == "[==> ]");
    CHECK(bar_text(4, 4, 4) == "[====]");
    CHECK(bar_text(9, 4, 4) == "[====]");
    CHECK(bar_text(0, 0, 4) == "[====]");
}
