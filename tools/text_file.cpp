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

void expect_other_file(std::string_view option,
                       const std::filesystem::path& path,
                       const std::filesystem::path& other) {
    std::error_code ignored;
    const bool same = std::filesystem::equivalent(path, other, ignored) ||
                      std::filesystem::weakly_canonical(path, ignored) ==
                          std::filesystem::weakly_canonical(other, ignored);
    if (same && !path.empty())
        throw usage_error(std::string(option) + ' ' + path.string() + " would replace " +
                          other.string() +
                          ", which this command reads or writes; name another file");
}

}  // namespace kvtape
