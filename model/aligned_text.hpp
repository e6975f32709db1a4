#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// Text that may have been rewritten, and for every byte of it the bytes of the original that it
/// stands for. These never go backwards.
class AlignedText {
  public:
    /// Bytes `[begin, end)` of the original.
    struct Origin {
        std::uint32_t begin = 0;
        std::uint32_t end = 0;
    };

    AlignedText() = default;
    /// `text` as it stands in the original from byte `offset` on.
    AlignedText(std::string_view text, std::size_t offset);

    const std::string& text() const { return text_; }
    bool empty() const { return text_.empty(); }
    /// What bytes `[begin, end)` of the text stand for; there must be at least one.
    Origin origin(std::size_t begin, std::size_t end) const;

    AlignedText slice(std::size_t begin, std::size_t end) const;
    /// Appends `text`, every byte of which stands for all of `origin`.
    void append(std::string_view text, Origin origin);
    /// Appends bytes `[begin, end)` of `other`.
    void append(const AlignedText& other, std::size_t begin, std::size_t end);

    /// Puts `prefix` before the text; it stands for the first byte. Empty text stays empty.
    void prepend(std::string_view prefix);
    /// Writes `content` for each `pattern` (not empty), from left to right; it stands for the last
    /// character of what it replaces.
    void replace(std::string_view pattern, std::string_view content);

  private:
    std::string text_;
    std::vector<Origin> origins_;  ///< one for each byte
};

}  // namespace kvtape::model
