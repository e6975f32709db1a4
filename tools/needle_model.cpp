#include "tools/needle_model.hpp"

#include "core/error.hpp"

#include <system_error>

namespace kvtape {

std::filesystem::path needle_model_directory() {
    namespace fs = std::filesystem;
    const fs::path inside = "needle-model";
    std::error_code failure;
    fs::path folder = fs::read_symlink("/proc/self/exe", failure).parent_path();
    for (; !folder.empty(); folder = folder.parent_path()) {
        if (fs::exists(folder / "data" / inside / "config.json", failure))
            return folder / "data" / inside;
        if (folder == folder.root_path())
            break;
    }
    const fs::path built = fs::path(KVTAPE_DATA_DIR) / inside;
    if (fs::exists(built / "config.json", failure))
        return built;
    throw usage_error(
        "looking for the needle model: there is no data/needle-model above the program"
        " nor " +
        built.string() + "; name a model with --model DIR");
}

}  // namespace kvtape
