#include "model/safetensors.hpp"

#include "tests/fuzz/fuzz.hpp"

namespace {

/// Every tensor of an accepted file lies inside it.
void parse_and_sum(std::string_view file) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(file.data(), file.size()));
    std::size_t covered = 0;
    for (const auto& [name, tensor] : kvtape::model::parse_safetensors(bytes, "input"))
        covered += tensor.bytes.size();
    if (covered > bytes.size())
        std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_sum);
}
