#include "model/files.hpp"

#include "core/error.hpp"
#include "model/mapped_file.hpp"

namespace kvtape::model {

void refuse_pointer(std::string_view bytes, const std::string& what) {
    if (bytes.starts_with("version https://git-lfs"))
        throw format_error("reading " + what +
                           ": it is a pointer of git-lfs, not the file itself; fetch it (git lfs "
                           "pull)");
}

std::string read_text(const std::filesystem::path& path, std::size_t most_bytes) {
    const MappedFile file(path);
    const std::span<const std::byte> bytes = file.bytes();
    if (bytes.size() > most_bytes)
        throw format_error("reading " + path.string() + ": it has " + std::to_string(bytes.size()) +
                           " bytes, expected at most " + std::to_string(most_bytes));
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    refuse_pointer(text, path.string());
    return text;
}

}  // namespace kvtape::model
