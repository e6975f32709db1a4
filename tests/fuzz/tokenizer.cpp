#include "model/tokenizer.hpp"

#include "tests/fuzz/fuzz.hpp"

namespace {

/// A tokenizer that is accepted can be used, whatever it maps to what.
void parse_and_encode(std::string_view json) {
    const kvtape::model::Tokenizer tokenizer = kvtape::model::Tokenizer::parse(json, "input");
    const kvtape::model::Encoding encoding =
        tokenizer.encode("<s>The magic number of caf\u00e9 12 is 345.\n\nQuestion: why?");
    if (encoding.begins.size() != encoding.ids.size() ||
        encoding.ends.size() != encoding.ids.size())
        std::abort();
    tokenizer.decode(encoding.ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_encode);
}
