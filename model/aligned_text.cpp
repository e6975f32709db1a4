#include "model/aligned_text.hpp"

#include "model/utf8.hpp"

#include <iterator>

namespace kvtape::model {

AlignedText::AlignedText(std::string_view text, std::size_t offset) : text_(text) {
    origins_.reserve(text.size());
    const auto first = static_cast<std::uint32_t>(offset);
    for (std::uint32_t i = 0; i < text.size(); ++i)
        origins_.push_back({first + i, first + i + 1});
}

AlignedText::Origin AlignedText::origin(std::size_t begin, std::size_t end) const {
    return {origins_[begin].begin, origins_[end - 1].end};
}

AlignedText AlignedText::slice(std::size_t begin, std::size_t end) const {
    AlignedText part;
    part.append(*this, begin, end);
    return part;
}

void AlignedText::append(std::string_view text, Origin origin) {
    text_ += text;
    origins_.insert(origins_.end(), text.size(), origin);
}

void AlignedText::append(const AlignedText& other, std::size_t begin, std::size_t end) {
    text_.append(other.text_, begin, end - begin);
    const auto from = other.origins_.begin();
    origins_.insert(origins_.end(),
                    std::next(from, static_cast<std::ptrdiff_t>(begin)),
                    std::next(from, static_cast<std::ptrdiff_t>(end)));
}

void AlignedText::prepend(std::string_view prefix) {
    if (text_.empty())
        return;
    const Origin first = origins_.front();
    text_.insert(0, prefix);
    origins_.insert(origins_.begin(), prefix.size(), first);
}

void AlignedText::replace(std::string_view pattern, std::string_view content) {
    AlignedText written;
    std::size_t done = 0;
    for (std::size_t at = text_.find(pattern); at != std::string::npos;
         at = text_.find(pattern, done)) {
        written.append(*this, done, at);
        done = at + pattern.size();
        const std::size_t last = code_point_before(text_, done).bytes;
        written.append(content, origin(done - last, done));
    }
    if (done == 0)
        return;
    written.append(*this, done, text_.size());
    *this = std::move(written);
}

}  // namespace kvtape::model
