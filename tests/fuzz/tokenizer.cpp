#include "model/tokenizer.hpp"

#include "tests/fuzz/fuzz.hpp"

namespace {

/// A tokenizer that is accepted can be used, whatever it maps to what.
void parse_and_encode(std::string_view json) {
    const kvtape::model::Tokenizer tokenizer = kvtape::model::Tokenizer::parse(json, "input");
    for (const std::string_view text :
         {"<s>The magic number of caf\u00e9 12 is 345.\n\nQuestion: why?",
          " \u2581e\u0323\u0301 \u1112\u1161\u11ab \U0001f469\u200d\U0001f467 fox den <mask> "
          "\x01"}) {
        const kvtape::model::Encoding encoding = tokenizer.encode_in_template(text);
        if (encoding.begins.size() != encoding.ids.size() ||
            encoding.ends.size() != encoding.ids.size())
            std::abort();
        for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
            const bool inside = encoding.begins[i] <= encoding.ends[i] &&
                                encoding.ends[i] <= static_cast<std::int64_t>(text.size());
            const bool onward = i == 0 || (encoding.begins[i - 1] <= encoding.begins[i] &&
                                           encoding.ends[i - 1] <= encoding.ends[i]);
            if (!inside || !onward)
                std::abort();
        }
        tokenizer.decode(encoding.ids);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_encode);
}
