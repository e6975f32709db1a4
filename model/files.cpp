#include "model/files.hpp"

#include "core/error.hpp"
#include "model/safetensors.hpp"

namespace kvtape::model {

std::string read_text(const std::filesystem::path& path, std::size_t most_bytes) {
    const MappedFile file(path);
    const std::span<const std::byte> bytes = file.bytes();
    if (bytes.size() > most_bytes)
        throw format_error("reading " + path.string() + ": it has " + std::to_string(bytes.size()) +
                           " bytes, expected at most " + std::to_string(most_bytes));
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace kvtape::model
