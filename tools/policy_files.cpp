#include "tools/policy_files.hpp"

#include "core/error.hpp"
#include "trace/scores.hpp"

#include <fstream>

namespace kvtape {

std::shared_ptr<const ScoreTable> PolicyFiles::scores(const std::string& path) const {
    return open_scores(path, trace_);
}

std::string PolicyFiles::text(const std::string& path) const {
    // Values of heads are few; whatever is longer is another kind of file.
    constexpr std::size_t longest = std::size_t{16} << 20;
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw errno_error("opening " + path);
    std::string text(longest + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad())
        throw errno_error("reading " + path);
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > longest)
        throw format_error("reading " + path +
                           ": it has more than 16 MiB, too much for values of heads");
    return text;
}

}  // namespace kvtape
