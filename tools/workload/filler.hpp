#pragma once

#include "core/types.hpp"
#include "model/tokenizer.hpp"
#include "tools/workload/draw.hpp"
#include "tools/workload/lexicon.hpp"

#include <string>
#include <vector>

namespace kvtape::workload {

struct FillerSentence {
    std::string text;
    Position tokens = 0;  ///< with the space before it
};

/// Prose without facts, to a given number of tokens.
class Filler {
  public:
    Filler(const Lexicon& lexicon, const model::Tokenizer& tokenizer, Draw& draw)
        : lexicon_(lexicon),
          tokenizer_(tokenizer),
          draw_(draw) {}

    /// Draws or drops sentences until all together have exactly `tokens` tokens. The last ones are
    /// cut between words to get there.
    void resize(Position tokens);
    const std::vector<FillerSentence>& sentences() const { return sentences_; }

  private:
    FillerSentence draw_sentence();
    FillerSentence counted(std::string text) const;
    void fill_up_to(Position tokens);
    /// Adds one sentence of exactly `room` tokens, ending in `stop` where it had to be cut; false
    /// when none is found.
    bool close(Position room, const std::string& stop);
    void drop_last();

    const Lexicon& lexicon_;
    const model::Tokenizer& tokenizer_;
    Draw& draw_;
    std::vector<FillerSentence> sentences_;
    Position tokens_ = 0;
};

}  // namespace kvtape::workload
