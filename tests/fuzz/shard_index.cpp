#include "model/shard_index.hpp"

#include "tests/fuzz/fuzz.hpp"

#include <filesystem>

namespace {

/// Every shard of an index that is accepted lies in the directory of the index.
void parse_and_resolve(std::string_view text) {
    const std::filesystem::path directory = "/checkpoint";
    for (const auto& [tensor, file] : kvtape::model::parse_shard_index(text, "input"))
        if ((directory / file).lexically_normal().parent_path() != directory ||
            file.find('\0') != std::string::npos)
            std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return expect_clean_outcome(data, size, parse_and_resolve);
}
