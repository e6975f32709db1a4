#include "trace/validate.hpp"

#include "core/error.hpp"
#include "trace/schema.hpp"

#include <cmath>
#include <string>

namespace kvtape {
namespace {

constexpr std::int32_t largest_count = 1 << 20;

std::string number(std::int64_t value) {
    return std::to_string(value);
}

void expect_range(std::int64_t value, std::int64_t least, std::int64_t most, const char* name) {
    if (value < least || value > most)
        throw format_error(std::string(name) + " is " + number(value) + ", expected " +
                           number(least) + " to " + number(most));
}

void expect_count(std::size_t found, std::int64_t expected, const char* name) {
    if (found != static_cast<std::size_t>(expected))
        throw format_error(std::string(name) + " has " + std::to_string(found) +
                           " entries, expected " + number(expected));
}

void validate_text(const SequenceInfo& sequence) {
    const std::vector<std::int64_t>& offsets = sequence.text_offsets;
    expect_count(offsets.size(), std::int64_t{sequence.length()} + 1, schema::text_offsets);
    if (offsets.front() != 0 || offsets.back() != static_cast<std::int64_t>(sequence.text.size()))
        throw format_error("text_offsets run from " + number(offsets.front()) + " to " +
                           number(offsets.back()) + ", expected 0 to " +
                           std::to_string(sequence.text.size()));
    for (std::size_t token = 1; token < offsets.size(); ++token)
        if (offsets[token] < offsets[token - 1])
            throw format_error("text_offsets fall at token " + std::to_string(token) +
                               ", expected them to rise");
}

void validate_spans(const SequenceInfo& sequence) {
    for (std::size_t row = 0; row < sequence.spans.size(); ++row) {
        const Span& span = sequence.spans[row];
        const auto kind = static_cast<std::int32_t>(span.kind);
        const std::string name = "spans row " + std::to_string(row);
        expect_range(
            kind, 0, static_cast<std::int32_t>(SpanKind::distractor), (name + " kind").c_str());
        if (span.begin < 0 || span.begin > span.end || span.end > sequence.length())
            throw format_error(name + " is tokens " + number(span.begin) + " to " +
                               number(span.end) + " of " + number(sequence.length()));
        if (span.group < -1)
            throw format_error(name + " has group " + number(span.group) + ", expected -1 or more");
    }
}

void validate_positions(const SequenceInfo& sequence) {
    Position before = -1;
    for (const Position position : sequence.query_positions) {
        if (position <= before || position >= sequence.length())
            throw format_error("query_positions hold " + number(position) + " after " +
                               number(before) + ", expected rising positions below " +
                               number(sequence.length()));
        before = position;
    }
}

void validate_logits(const SequenceInfo& sequence) {
    const std::int64_t logits = std::int64_t{sequence.generated()} * sequence.top_logits;
    expect_count(sequence.logits_top.size(), logits, schema::logits_top);
    expect_count(sequence.logits_top_ids.size(), logits, schema::logits_top_ids);
    for (const float logit : sequence.logits_top)
        if (std::isnan(logit))
            throw format_error("logits_top hold NaN, expected numbers");
    for (const std::int32_t token : sequence.logits_top_ids)
        if (token < 0)
            throw format_error("logits_top_ids hold " + number(token) +
                               ", expected no negative id");
}

[[noreturn]] void refuse_rope(const char* name, const Json& found, const std::string& expected) {
    throw format_error(std::string("rope has ") + name + " " + to_text(found).substr(0, 40) +
                       ", expected " + expected);
}

/// What rope says, as far as it says anything, must be able to rotate heads of that width.
void validate_rope(const Json& rope, const Shape& shape) {
    const auto is_frequency = [](const Json& value) {
        return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() >= 0;
    };
    if (const auto theta = rope.find("theta"); theta != rope.end())
        if (!is_frequency(*theta) || theta->get<double>() == 0)
            refuse_rope("theta", *theta, "a positive number");
    if (const auto layout = rope.find("layout"); layout != rope.end())
        if (*layout != "half" && *layout != "interleaved")
            refuse_rope("layout", *layout, "half or interleaved");
    std::int64_t rotated = shape.head_dim;
    if (const auto width = rope.find("rotary_dim"); width != rope.end()) {
        if (!width->is_number_unsigned() ||
            width->get<std::uint64_t>() > static_cast<std::uint64_t>(shape.head_dim) ||
            width->get<std::uint64_t>() % 2 != 0)
            refuse_rope("rotary_dim", *width, "an even number up to " + number(shape.head_dim));
        rotated = width->get<std::int64_t>();
    }
    const auto frequencies = rope.find("inv_freq");
    if (frequencies == rope.end())
        return;
    if (!frequencies->is_array() || std::ssize(*frequencies) != rotated / 2)
        refuse_rope("inv_freq", *frequencies, "a list of " + number(rotated / 2) + " numbers");
    for (const Json& frequency : *frequencies)
        if (!is_frequency(frequency))
            refuse_rope("inv_freq", frequency, "numbers that are not negative");
}

/// Pieces follow each other through the context, and so do their rows.
void validate_replay(const SequenceInfo& sequence) {
    ReplayChunk before;
    for (const ReplayChunk& chunk : sequence.replay_chunks) {
        if (chunk.begin != before.end || chunk.end <= chunk.begin ||
            chunk.first != before.first + std::int64_t{before.count} || chunk.count < 1)
            throw format_error("replay_chunks hold tokens " + number(chunk.begin) + " to " +
                               number(chunk.end) + " with " + number(chunk.count) +
                               " rows from row " + number(chunk.first) +
                               ", expected pieces that follow each other from 0 on");
        before = chunk;
    }
    if (!sequence.replay_chunks.empty() && before.end != sequence.context_len)
        throw format_error("replay_chunks end at token " + number(before.end) +
                           ", expected the end of the context, " + number(sequence.context_len));
}

}  // namespace

void validate(const Shape& shape) {
    expect_range(shape.layers, 1, schema::most_layers, schema::layers);
    expect_range(shape.query_heads, 1, largest_count, schema::query_heads);
    expect_range(shape.kv_heads, 1, largest_count, schema::kv_heads);
    expect_range(shape.head_dim, 1, largest_count, schema::head_dim);
    expect_range(shape.hidden_size, 1, largest_count, schema::hidden_size);
    if (shape.query_heads % shape.kv_heads != 0)
        throw format_error("query_heads is " + number(shape.query_heads) +
                           ", expected a multiple of the " + number(shape.kv_heads) + " kv_heads");
    if (!std::isfinite(shape.softmax_scale) || shape.softmax_scale <= 0.0)
        throw format_error("softmax_scale is " + std::to_string(shape.softmax_scale) +
                           ", expected a positive number");
}

void validate(const TraceInfo& info) {
    validate(info.shape);
    const Json rope = parse_json(info.rope, schema::rope);
    if (!rope.is_object())
        throw format_error("rope is not a JSON object");
    validate_rope(rope, info.shape);
    expect_count(info.sliding_window.size(), info.shape.layers, schema::sliding_window);
    for (const std::optional<Position>& window : info.sliding_window)
        if (window && *window < 1)
            throw format_error("sliding_window holds " + number(*window) +
                               ", expected a positive number or null");
}

void validate(const SequenceInfo& sequence) {
    if (sequence.tokens.empty())
        throw format_error("tokens are empty, expected at least one");
    expect_range(sequence.prompt_len, 0, sequence.length(), schema::prompt_len);
    expect_range(sequence.context_len, 0, sequence.prompt_len, schema::context_len);
    expect_range(sequence.correct, -1, 1, schema::correct);
    for (const std::int32_t token : sequence.tokens)
        if (token < 0)
            throw format_error("tokens hold " + number(token) + ", expected no negative id");
    validate_text(sequence);
    validate_spans(sequence);
    validate_positions(sequence);
    validate_logits(sequence);
    validate_replay(sequence);
}

}  // namespace kvtape
