#pragma once

#include "tools/workload/prompts.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvtape::workload {

/// The prompts of a file, of which one line at a time is in memory.
class PromptFile {
  public:
    /// Reads and checks every line; keeps where the prompts stand. Errors are those of
    /// `parse_prompt_line`, io errors, and a format error where there is no prompt, or a line of
    /// more than 256 MiB. The file must be one that can be read again (not a pipe).
    PromptFile(std::filesystem::path file, PromptFormat format);

    /// How many prompts; a line with several questions counts as many.
    std::int64_t size() const { return std::ssize(places_); }
    /// Reads the prompt anew. A file that has changed in between is a format error.
    WrittenPrompt read(std::int64_t index) const;
    /// Where the prompt stands: `mine.jsonl, line 4`.
    std::string place_of(std::int64_t index) const;

  private:
    struct Place {
        std::int64_t begin = 0;  ///< of the line, bytes
        std::int64_t bytes = 0;
        std::int64_t line = 0;  ///< from 1
        std::size_t question = 0;
        std::uint64_t hash = 0;  ///< of the line
    };
    std::string where(std::int64_t line) const;
    void add_line(std::string_view text, std::int64_t begin, std::int64_t line);

    std::filesystem::path file_;
    PromptFormat format_;
    std::vector<Place> places_;
};

}  // namespace kvtape::workload
