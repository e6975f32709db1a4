#pragma once

#include "core/json.hpp"
#include "tools/workload/document.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::workload {

/// A JSON object of a prompts file, and how errors in it are told: `reading WHERE: it ...`.
class PromptLine {
  public:
    PromptLine(Json object, std::string where);

    bool has(const char* key) const { return object_.contains(key); }
    /// Refuses a key that is not among `known`.
    void expect_keys(std::span<const std::string_view> known) const;
    /// Text that must be there, and may not be empty.
    std::string needed_text(const char* key) const;
    /// Text, or "" where the key is absent.
    std::string text(const char* key) const;
    /// A text as a list of one, a list of texts (or numbers) as it is; empty where absent.
    std::vector<std::string> texts(const char* key) const;
    /// The objects of a list that may not be empty.
    std::vector<PromptLine> objects(const char* key) const;
    /// What "needles" names in `context`; empty where absent.
    std::vector<TextRange> needles(const std::string& context) const;

    [[noreturn]] void refuse(const std::string& found) const;

  private:
    TextRange find(const std::string& needle, const std::string& context) const;
    TextRange range(const Json& needle, const std::string& context) const;
    std::size_t byte_of(std::size_t index, const std::string& context) const;

    Json object_;
    std::string where_;
};

}  // namespace kvtape::workload
