#pragma once

#include "core/types.hpp"
#include "trace/trace.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// When a policy decides. `prefill`: once, when the context is in the cache.
class Schedule {
  public:
    /// Reads `prefill`. `prompt`, `block:N` and `+decode` are well-formed but not replayed by this
    /// version, and refused as such; what is malformed is refused with the grammar. Both are usage
    /// errors.
    static Schedule parse(std::string_view text);

    const std::string& text() const { return text_; }
    /// The blocks a sequence goes through: the context, the question if there is one, then every
    /// generated token by itself.
    std::vector<Block> blocks(const SequenceInfo& sequence) const;
    /// Index of the last block at whose end the policy decides.
    std::int32_t last_decision(const SequenceInfo& sequence) const;

  private:
    std::string text_ = "prefill";
};

}  // namespace kvtape
