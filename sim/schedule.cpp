#include "sim/schedule.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>

namespace kvtape {
namespace {

/// A whole number from 1.
std::optional<std::int32_t> count_of(std::string_view text) {
    std::int32_t count = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), count);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || count <= 0)
        return std::nullopt;
    return count;
}

}  // namespace

Schedule Schedule::parse(std::string_view text) {
    constexpr std::string_view decode = "+decode", block = "block:";
    Schedule schedule;
    schedule.text_ = text;
    std::string_view moment = text;
    if (moment.ends_with(decode)) {
        schedule.decoding_ = true;
        moment.remove_suffix(decode.size());
    }
    if (moment == "prefill")
        return schedule;
    schedule.kind_ = Kind::prompt;
    if (moment == "prompt")
        return schedule;
    schedule.kind_ = Kind::block;
    if (moment.starts_with(block))
        if (const auto length = count_of(moment.substr(block.size()))) {
            schedule.length_ = *length;
            schedule.text_ =
                "block:" + std::to_string(*length) + (schedule.decoding_ ? "+decode" : "");
            return schedule;
        }
    throw usage_error("reading the schedule '" + std::string(text) +
                      "': a schedule is prefill, prompt or block:N with N from 1, each possibly "
                      "with +decode");
}

std::vector<Block> Schedule::blocks(const SequenceInfo& sequence) const {
    std::vector<Block> blocks;
    const Position length = kind_ == Kind::block     ? length_
                            : kind_ == Kind::prefill ? sequence.context_len
                                                     : sequence.prompt_len;
    Position end = std::min(length, sequence.prompt_len);
    blocks.push_back({0, end, false});
    while (end < sequence.prompt_len) {
        const Position left = sequence.prompt_len - end;
        const Position next = kind_ == Kind::block ? std::min(length, left) : left;
        blocks.push_back({end, end + next, false});
        end += next;
    }
    for (Position token = sequence.prompt_len; token < sequence.length(); ++token)
        blocks.push_back({token, token + 1, true});
    return blocks;
}

std::size_t Schedule::prompt_blocks(const SequenceInfo& sequence) const {
    switch (kind_) {
        case Kind::prefill:
            return sequence.prompt_len > sequence.context_len ? 2 : 1;
        case Kind::prompt:
            return 1;
        case Kind::block:
            break;
    }
    const std::int64_t blocks = (sequence.prompt_len + std::int64_t{length_} - 1) / length_;
    return static_cast<std::size_t>(std::max<std::int64_t>(1, blocks));
}

bool Schedule::decides(std::size_t block, const SequenceInfo& sequence) const {
    if (decoding_ || block == 0)
        return true;
    return kind_ == Kind::block && block < prompt_blocks(sequence);
}

std::int32_t Schedule::last_decision(const SequenceInfo& sequence) const {
    if (!decoding_)
        return last_prompt_decision(sequence);
    const auto decoded = static_cast<std::size_t>(sequence.generated());
    return static_cast<std::int32_t>(prompt_blocks(sequence) + decoded) - 1;
}

std::int32_t Schedule::last_prompt_decision(const SequenceInfo& sequence) const {
    if (decoding_ || kind_ == Kind::block)
        return static_cast<std::int32_t>(prompt_blocks(sequence)) - 1;
    return 0;
}

Limit Schedule::limit(const Budget& budget,
                      const Shape& shape,
                      const SequenceInfo& sequence,
                      const Block& block) const {
    const Position tokens = decoding_ ? sequence.context_len : block.end;
    Limit limit{.tokens = budget.tokens_of(tokens, shape), .ratio = budget.ratio()};
    if (decoding_ && budget.unit() != Budget::Unit::ratio)
        limit.tokens = budget.tokens_of(sequence.length(), shape);
    return limit;
}

}  // namespace kvtape
