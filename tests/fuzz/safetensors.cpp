#include "model/safetensors.hpp"

#include "tests/fuzz/fuzz.hpp"

#include <span>

namespace {

/// Every tensor of a file that is accepted lies inside it.
void parse_and_touch(std::string_view input) {
    const auto file = std::as_bytes(std::span<const char>(input));
    for (const auto& [name, tensor] : kvtape::model::parse_safetensors(file, "input")) {
        const bool inside = tensor.bytes.empty() || (tensor.bytes.data() >= file.data() &&
                                                     tensor.bytes.data() + tensor.bytes.size() <=
                                                         file.data() + file.size());
        if (!inside)
            std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_touch);
}
