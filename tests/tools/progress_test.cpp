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

TEST_CASE("A block is behind the model as far as its layers have run", "[tools][progress]") {
    CHECK(positions_behind(0, {.begin = 512, .end = 1024}, 16) == 512);
    CHECK(positions_behind(4, {.begin = 512, .end = 1024}, 16) == 640);
    CHECK(positions_behind(1, {.begin = 7, .end = 8, .decoding = true}, 2) == 7);
    CHECK(positions_behind(4000, {.begin = 0, .end = 1 << 24}, 4096) == 16384000);
}

TEST_CASE("The share of a sequence counts its prompt and the longest answer", "[tools][progress]") {
    CHECK(model_share(0, 900, 100) == 0.0);
    CHECK(model_share(500, 900, 100) == 0.5);
    CHECK(model_share(1000, 900, 100) == 1.0);
    // What reads the context a second time runs over more positions than there are.
    CHECK(model_share(3000, 900, 100) == 1.0);
    CHECK(model_share(0, 0, 0) == 0.0);
}

TEST_CASE("Time left follows from the pace since the first call", "[tools][progress]") {
    CHECK_FALSE(seconds_left(5.0, 0.0, 0.0, 4.0));
    CHECK_FALSE(seconds_left(5.0, 2.0, 2.0, 4.0));
    CHECK(seconds_left(10.0, 0.0, 0.25, 1.0) == 30.0);
    CHECK(seconds_left(10.0, 0.0, 1.0, 4.0) == 30.0);
    // Two of four sequences were there already.
    CHECK(seconds_left(10.0, 2.0, 2.5, 4.0) == 30.0);
    CHECK(seconds_left(10.0, 0.0, 4.0, 4.0) == 0.0);
}

TEST_CASE("A bar is filled by the share that is done", "[tools][progress]") {
    CHECK(bar_text(0, 4, 4) == "[>   ]");
    CHECK(bar_text(2, 4, 4) == "[==> ]");
    CHECK(bar_text(4, 4, 4) == "[====]");
    CHECK(bar_text(9, 4, 4) == "[====]");
    CHECK(bar_text(0, 0, 4) == "[====]");
}
