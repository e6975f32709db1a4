#include "tools/text_file.hpp"

#include "core/error.hpp"

#include <fstream>
#include <system_error>

namespace kvtape {

void write_text_file(const std::filesystem::path& path, std::string_view content) {
    std::filesystem::path partial = path;
    partial += ".partial";
    std::ofstream file(partial, std::ios::binary | std::ios::trunc);
    file << content;
    file.close();
    std::error_code ignored;
    if (!file) {
        const Error error = errno_error("writing " + path.string());
        std::filesystem::remove(partial, ignored);
        throw error;
    }
    std::error_code failure;
    std::filesystem::rename(partial, path, failure);
    if (failure) {
        std::filesystem::remove(partial, ignored);
        throw io_error("writing " + path.string() + ": " + failure.message());
    }
}

}  // namespace kvtape
