#include "core/json.hpp"

#include "tests/fuzz/fuzz.hpp"

namespace {

/// A document that is accepted survives a round trip through text.
void parse_and_print(std::string_view text) {
    const kvtape::Json value = kvtape::parse_json(text, "input");
    if (kvtape::parse_json(kvtape::to_text(value), "output") != value)
        std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_print);
}
