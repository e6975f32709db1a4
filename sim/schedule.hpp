#pragma once

#include "core/budget.hpp"
#include "core/types.hpp"
#include "trace/trace.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// When a policy decides: `prefill`, once, when the context is in the cache; `prompt`, once, when
/// the prompt is; `block:N`, after every N tokens of the prompt. With `+decode` it decides at the
/// end of every block, those of the question and of every generated token included.
class Schedule {
  public:
    /// A malformed schedule is a usage error that shows the grammar.
    static Schedule parse(std::string_view text);

    const std::string& text() const { return text_; }
    bool in_blocks() const { return kind_ == Kind::block; }
    bool decoding() const { return decoding_; }
    /// Whether there is one decision alone.
    bool once() const { return kind_ != Kind::block && !decoding_; }
    /// The blocks a sequence goes through. Every generated token is one.
    std::vector<Block> blocks(const SequenceInfo& sequence) const;
    /// Whether the policy decides at the end of `blocks(...)[block]`.
    bool decides(std::size_t block, const SequenceInfo& sequence) const;
    /// Index of the last block at whose end the policy decides.
    std::int32_t last_decision(const SequenceInfo& sequence) const;
    /// Index of the last of these before the first generated token.
    std::int32_t last_prompt_decision(const SequenceInfo& sequence) const;
    /// What may be kept at the end of `block`. A ratio is one of the tokens so far; where a
    /// schedule decodes, of the context, and a count is not capped by what there is.
    Limit limit(const Budget& budget,
                const Shape& shape,
                const SequenceInfo& sequence,
                const Block& block) const;

  private:
    enum class Kind { prefill, prompt, block };
    /// How many of the blocks are of the prompt.
    std::size_t prompt_blocks(const SequenceInfo& sequence) const;

    std::string text_ = "prefill";
    Kind kind_ = Kind::prefill;
    Position length_ = 0;  ///< N
    bool decoding_ = false;
};

}  // namespace kvtape
