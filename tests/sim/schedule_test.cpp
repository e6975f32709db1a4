#include "sim/schedule.hpp"

#include "tests/sim/cases.hpp"
#include "tests/support/catch.hpp"

#include <string>

using namespace kvtape;
using namespace kvtape::tests;

TEST_CASE("a malformed schedule is refused with the grammar", "[sim][schedule]") {
    for (const std::string text : {"",
                                   "sometimes",
                                   "Prefill",
                                   "block",
                                   "block:",
                                   "block:0",
                                   "block:-4",
                                   "block:64x",
                                   "block:99999999999",
                                   "+decode",
                                   "prefill+decode+decode",
                                   "prefill+",
                                   "prefill "})
        for (const std::string part : {"prefill", "prompt", "block:N", "+decode"})
            CHECK(mentions(refusal(ErrorKind::usage, [&] { Schedule::parse(text); }), part));
}
