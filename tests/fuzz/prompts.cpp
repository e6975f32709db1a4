#include "tools/workload/prompts.hpp"

#include "tests/fuzz/fuzz.hpp"

#include <array>

namespace {

using kvtape::workload::PromptFormat;

constexpr std::array formats = {PromptFormat::kvtape, PromptFormat::ruler, PromptFormat::babilong};

/// Needles of accepted prompts lie inside their contexts. The first byte chooses the format.
void parse(std::string_view text) {
    PromptFormat format = PromptFormat::kvtape;
    if (!text.empty() && static_cast<unsigned char>(text.front()) < formats.size()) {
        format = formats[static_cast<unsigned char>(text.front())];
        text.remove_prefix(1);
    }
    for (const auto& prompt : kvtape::workload::parse_prompts(text, "input", format))
        for (const auto& needle : prompt.needles)
            if (needle.begin >= needle.end || needle.end > prompt.context.size())
                std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse);
}
