#include "model/config.hpp"

#include "core/json.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

/// A configuration that is accepted has a geometry and a description of its rotations.
void parse_and_describe(std::string_view text) {
    const kvtape::model::Config config = kvtape::model::Config::parse(text, "input");
    const kvtape::Shape shape = config.shape(config.stored_type);
    if (shape.layers < 1 || shape.kv_heads < 1 || shape.query_heads % shape.kv_heads != 0)
        std::abort();
    kvtape::to_text(config.rope());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_describe);
}
