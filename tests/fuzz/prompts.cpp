#include "tools/workload/prompts.hpp"

#include "tests/fuzz/fuzz.hpp"

namespace {

/// Needles of accepted prompts lie inside their contexts.
void parse(std::string_view text) {
    for (const auto& prompt : kvtape::workload::parse_prompts(text, "input"))
        for (const auto& needle : prompt.needles)
            if (needle.begin >= needle.end || needle.end > prompt.context.size())
                std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse);
}
