#include "tools/workload/prompt_file.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fstream>
#include <functional>
#include <system_error>
#include <utility>

namespace kvtape::workload {
namespace {

constexpr std::size_t longest_line = std::size_t{1} << 28;
constexpr std::size_t buffer_size = std::size_t{1} << 20;

std::ifstream open(const std::filesystem::path& file) {
    std::error_code failure;
    const bool regular = std::filesystem::is_regular_file(file, failure);
    if (!failure && !regular && std::filesystem::exists(file, failure))
        throw usage_error("reading prompts from " + file.string() +
                          ": it is no regular file; prompts are read twice, write them to one");
    std::ifstream stream(file, std::ios::binary);
    if (!stream)
        throw errno_error("opening " + file.string());
    return stream;
}

std::uint64_t hash_of(std::string_view line) {
    return std::hash<std::string_view>()(line);
}

}  // namespace

PromptFile::PromptFile(std::filesystem::path file, PromptFormat format)
    : file_(std::move(file)),
      format_(format) {
    std::ifstream stream = open(file_);
    std::string buffer(buffer_size, '\0'), line;
    std::int64_t begin = 0, number = 1;
    while (stream) {
        stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
        std::string_view rest(buffer.data(), static_cast<std::size_t>(stream.gcount()));
        while (!rest.empty()) {
            const std::size_t feed = std::min(rest.find('\n'), rest.size());
            line += rest.substr(0, feed);
            if (line.size() > longest_line)
                throw format_error("reading " + where(number) + ": it is longer than " +
                                   std::to_string(longest_line) +
                                   " bytes; prompts are one JSON object a line");
            if (feed == rest.size())
                break;
            rest.remove_prefix(feed + 1);
            add_line(line, begin, number++);
            begin += std::ssize(line) + 1;
            line.clear();
        }
    }
    if (stream.bad())
        throw errno_error("reading " + file_.string());
    add_line(line, begin, number);
    if (places_.empty())
        throw format_error("reading " + file_.string() + ": it has no prompts");
}

std::string PromptFile::where(std::int64_t line) const {
    return file_.string() + ", line " + std::to_string(line);
}

std::string PromptFile::place_of(std::int64_t index) const {
    return where(places_.at(static_cast<std::size_t>(index)).line);
}

void PromptFile::add_line(std::string_view text, std::int64_t begin, std::int64_t line) {
    if (text.find_first_not_of(" \t\r") == std::string_view::npos)
        return;
    const std::size_t questions = parse_prompt_line(text, where(line), format_).size();
    for (std::size_t question = 0; question < questions; ++question)
        places_.push_back({.begin = begin,
                           .bytes = std::ssize(text),
                           .line = line,
                           .question = question,
                           .hash = hash_of(text)});
}

WrittenPrompt PromptFile::read(std::int64_t index) const {
    const Place& place = places_.at(static_cast<std::size_t>(index));
    std::ifstream stream = open(file_);
    std::string line(static_cast<std::size_t>(place.bytes), '\0');
    stream.seekg(place.begin);
    stream.read(line.data(), place.bytes);
    if (stream.gcount() != place.bytes || hash_of(line) != place.hash)
        throw format_error("reading " + where(place.line) +
                           ": it is not what it was when the recording began; leave the file alone "
                           "while it is read");
    return parse_prompt_line(line, where(place.line), format_).at(place.question);
}

}  // namespace kvtape::workload
