#include "tools/workload/filler.hpp"

#include "tools/workload/facts.hpp"

#include <utility>

namespace kvtape::workload {
namespace {

/// From here on sentences are chosen to fit what is left.
constexpr Position closing_room = 24;
constexpr int tries = 100;

/// The sentence cut after each of its words but the last, longest first.
std::vector<std::string> cuts(const std::string& sentence) {
    std::vector<std::string> pieces;
    for (std::size_t space = sentence.rfind(' '); space != std::string::npos && space > 0;
         space = sentence.rfind(' ', space - 1)) {
        const std::size_t end = sentence[space - 1] == ',' ? space - 1 : space;
        pieces.push_back(sentence.substr(0, end));
    }
    return pieces;
}

}  // namespace

FillerSentence Filler::counted(std::string text) const {
    const auto tokens = static_cast<Position>(tokenizer_.encode(' ' + text).ids.size());
    return {std::move(text), tokens};
}

FillerSentence Filler::draw_sentence() {
    return counted(draw_filler(lexicon_, draw_));
}

void Filler::drop_last() {
    tokens_ -= sentences_.back().tokens;
    sentences_.pop_back();
}

bool Filler::close(Position room, const std::string& stop) {
    for (int attempt = 0; attempt < tries; ++attempt) {
        FillerSentence sentence = draw_sentence();
        if (sentence.tokens > room)
            for (const std::string& piece : cuts(sentence.text)) {
                sentence = counted(piece + stop);
                if (sentence.tokens <= room)
                    break;
            }
        if (sentence.tokens != room)
            continue;
        tokens_ += room;
        sentences_.push_back(std::move(sentence));
        return true;
    }
    return false;
}

void Filler::fill_up_to(Position tokens) {
    while (tokens - tokens_ > closing_room) {
        FillerSentence sentence = draw_sentence();
        if (tokens_ + sentence.tokens > tokens)
            return;
        tokens_ += sentence.tokens;
        sentences_.push_back(std::move(sentence));
    }
}

void Filler::resize(Position tokens) {
    while (tokens_ > tokens)
        drop_last();
    for (int attempt = 0; attempt < tries && tokens_ != tokens; ++attempt) {
        fill_up_to(tokens);
        if (close(tokens - tokens_, "."))
            return;
        // A token or two rarely make a sentence. With those of the last one, they do; where there
        // is no other, a bare word must do.
        if (!sentences_.empty())
            drop_last();
        else if (close(tokens, ""))
            return;
    }
}

}  // namespace kvtape::workload
