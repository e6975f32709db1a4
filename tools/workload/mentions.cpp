#include "tools/workload/mentions.hpp"

#include <algorithm>

namespace kvtape::workload {
namespace {

bool is_word_character(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool ends_sentence(std::string_view text, std::size_t at) {
    const bool last = at + 1 == text.size();
    if (last || text[at] == '\n' || text[at + 1] == '\n')
        return true;
    const bool mark = text[at] == '.' || text[at] == '?' || text[at] == '!';
    return mark && is_blank(text[at + 1]);
}

}  // namespace

std::string lower_case(std::string_view text) {
    std::string lowered(text);
    for (char& c : lowered)
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return lowered;
}

bool mentions(std::string_view text, std::string_view word) {
    if (word.empty())
        return false;
    for (std::size_t at = text.find(word); at != std::string_view::npos;
         at = text.find(word, at + 1)) {
        const std::size_t end = at + word.size();
        const bool free_before = at == 0 || !is_word_character(text[at - 1]);
        const bool free_after = end == text.size() || !is_word_character(text[end]);
        if (free_before && free_after)
            return true;
    }
    return false;
}

std::vector<TextRange> sentences_of(std::string_view text) {
    std::vector<TextRange> sentences;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (!ends_sentence(text, at))
            continue;
        std::size_t end = at + 1;
        while (begin < end && is_blank(text[begin]))
            ++begin;
        while (begin < end && is_blank(text[end - 1]))
            --end;
        if (begin < end)
            sentences.push_back({begin, end});
        begin = at + 1;
    }
    return sentences;
}

std::vector<TextRange> sentences_that_mention(std::string_view text,
                                              std::span<const std::string> words,
                                              std::size_t most) {
    const std::string lowered = lower_case(text);
    std::vector<std::string> sought;
    for (const std::string& word : words)
        sought.push_back(lower_case(word));
    std::vector<TextRange> found;
    for (const TextRange sentence : sentences_of(text)) {
        const std::string_view part =
            std::string_view(lowered).substr(sentence.begin, sentence.end - sentence.begin);
        if (std::any_of(sought.begin(), sought.end(), [&](const std::string& word) {
                return mentions(part, word);
            }))
            found.push_back(sentence);
    }
    if (found.size() > most)
        found.clear();
    return found;
}

}  // namespace kvtape::workload
