#include "sim/schedule.hpp"

#include "core/error.hpp"

#include <charconv>
#include <system_error>

namespace kvtape {
namespace {

/// Whether `text` is a whole number from 1.
bool is_count(std::string_view text) {
    std::int32_t count = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), count);
    return read.ec == std::errc() && read.ptr == text.data() + text.size() && count > 0;
}

bool is_well_formed(std::string_view text) {
    constexpr std::string_view decode = "+decode", block = "block:";
    if (text.ends_with(decode))
        text.remove_suffix(decode.size());
    return text == "prefill" || text == "prompt" ||
           (text.starts_with(block) && is_count(text.substr(block.size())));
}

}  // namespace

Schedule Schedule::parse(std::string_view text) {
    if (text == "prefill")
        return {};
    const std::string what = "reading the schedule '" + std::string(text) + "': ";
    if (!is_well_formed(text))
        throw usage_error(what +
                          "a schedule is prefill, prompt or block:N with N from 1, each possibly "
                          "with +decode; this version replays the schedule prefill");
    throw usage_error(what +
                      "this version replays the schedule prefill (one decision when the context is "
                      "in the cache); use --schedule prefill");
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
