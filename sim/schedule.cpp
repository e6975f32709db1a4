#include "sim/schedule.hpp"

#include "core/error.hpp"

namespace kvtape {

Schedule Schedule::parse(std::string_view text) {
    if (text == "prefill")
        return {};
    throw usage_error("reading the schedule '" + std::string(text) +
                      "': this version replays the schedule prefill (one decision when the context "
                      "is in the cache); use --schedule prefill");
}

std::vector<Block> Schedule::blocks(const SequenceInfo& sequence) const {
    std::vector<Block> blocks = {{0, sequence.context_len, false}};
    if (sequence.prompt_len > sequence.context_len)
        blocks.push_back({sequence.context_len, sequence.prompt_len, false});
    for (Position token = sequence.prompt_len; token < sequence.length(); ++token)
        blocks.push_back({token, token + 1, true});
    return blocks;
}

std::int32_t Schedule::last_decision(const SequenceInfo&) const {
    return 0;
}

}  // namespace kvtape
