#include "tools/live/source.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "tools/recording.hpp"
#include "tools/second_pass.hpp"
#include "tools/visible_text.hpp"

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <string_view>

namespace kvtape::live {
namespace {

/// Fields of config.json that do not change what a model computes.
bool is_remark(const std::string& field) {
    return field.starts_with("_") || field == "torch_dtype" || field == "dtype" ||
           field == "transformers_version" || field == "use_cache";
}

Json without_remarks(const std::string& config, const std::string& what) {
    Json fields = parse_json(config, what);
    for (auto it = fields.begin(); it != fields.end();)
        it = is_remark(it.key()) ? fields.erase(it) : std::next(it);
    return fields;
}

void expect_same_model(const TraceInfo& recorded, const TraceInfo& running) {
    const Json then = without_remarks(recorded.model_config, "the attribute model_config");
    const Json now = without_remarks(running.model_config, "config.json");
    Json fields = then;
    fields.update(now);
    for (const auto& [field, value] : fields.items()) {
        const Json a = then.value(field, Json()), b = now.value(field, Json());
        if (a != b)
            throw format_error("running the sequences of a trace: it was recorded from " +
                               recorded.model_id + " with " + field + " " + to_text(a) +
                               ", and this model (" + running.model_id + ") has " + to_text(b) +
                               "; give the model of the trace with --model");
    }
}

/// Without white space around it: some tokenisers drop a space at the beginning of a text, and
/// special tokens may take in what stands beside them.
std::string_view word_of(std::string_view text) {
    constexpr const char* white_space = " \t\n\r";
    const std::size_t begin = std::min(text.find_first_not_of(white_space), text.size());
    return text.substr(begin, text.find_last_not_of(white_space) + 1 - begin);
}

/// Token ids mean nothing by themselves: another tokeniser has the same ids. Special tokens have no
/// text, and characters beyond ASCII may be shared by several tokens; the rest says enough.
void expect_same_tokens(const SequenceInfo& sequence, const model::Tokenizer& tokenizer) {
    for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
        const auto begin = static_cast<std::size_t>(sequence.text_offsets[i]);
        const auto end = static_cast<std::size_t>(sequence.text_offsets[i + 1]);
        const std::string_view then = std::string_view(sequence.text).substr(begin, end - begin);
        const std::string now = tokenizer.bytes_of(sequence.tokens[i]);
        const bool plain = std::all_of(then.begin(), then.end(), [](char c) { return c > 0; });
        if (then.empty() || !plain || word_of(then) == word_of(now))
            continue;
        throw format_error("running sequence " + sequence.name + " of a trace: its token " +
                           std::to_string(sequence.tokens[i]) + " stands for \"" +
                           visible_text(then) + "\", and for \"" + visible_text(now) +
                           "\" in this tokenizer.json; give the model of the trace with --model");
    }
}

/// The longest answer: up to the model's positions, or as far as the recording went beyond them.
std::int64_t room_for_answer(const SequenceInfo& sequence, const model::Config& config) {
    return std::int64_t{std::max(config.max_positions, sequence.length())} - sequence.prompt_len;
}

}  // namespace

Source::Source(const Trace& recorded,
               const model::Transformer& model,
               const model::Tokenizer& tokenizer,
               const std::filesystem::path& folder)
    : model_(model),
      info_(describe_trace(model, folder)) {
    expect_same_model(recorded.info(), info_);
    info_.fingerprint = recorded.info().fingerprint;
    for (std::int32_t i = 0; i < recorded.sequences(); ++i) {
        SequenceInfo& sequence = all_.emplace_back(recorded.sequence(i));
        for (const std::int32_t token : sequence.tokens)
            if (token < 0 || token >= model.config().vocabulary)
                throw format_error("running sequence " + sequence.name + " of a trace: token id " +
                                   std::to_string(token) +
                                   " is outside the model's vocabulary of " +
                                   std::to_string(model.config().vocabulary) +
                                   "; give the model of the trace with --model");
        expect_same_tokens(sequence, tokenizer);
        sequence.query_positions.resize(sequence.tokens.size());
        std::iota(sequence.query_positions.begin(), sequence.query_positions.end(), 0);
        sequence.replay_chunks = SecondPass::layout(
            tokenizer,
            std::span(sequence.tokens).first(static_cast<std::size_t>(sequence.context_len)));
    }
}

void Source::load(std::int32_t, std::int32_t, const LayerParts&, LayerData&) const {
    throw internal_error("loading tensors of a running model: there are none to load");
}

std::vector<float> Source::output_projection(std::int32_t layer) const {
    return model_.output_projection(layer);
}

LayerParts Source::stored(std::int32_t) const {
    LayerParts parts = always_recorded;
    parts.replay_queries = parts.replay_logsumexp = parts.replay_hidden_norm = true;
    return parts;
}

void expect_runnable(const Source& source,
                     const std::vector<std::int32_t>& sequences,
                     const model::Transformer& model,
                     Position max_new_tokens) {
    const model::Config& config = model.config();
    std::int64_t room = max_new_tokens;
    for (const std::int32_t index : sequences)
        room = std::min(room, room_for_answer(source.sequence(index), config));
    for (const std::int32_t index : sequences) {
        const SequenceInfo& sequence = source.sequence(index);
        const std::int64_t longest = std::int64_t{sequence.prompt_len} + max_new_tokens;
        if (room_for_answer(sequence, config) < max_new_tokens)
            throw usage_error("running sequence " + sequence.name + " live: its prompt of " +
                              std::to_string(sequence.prompt_len) + " tokens and " +
                              std::to_string(max_new_tokens) + " new ones exceed the model's " +
                              std::to_string(config.max_positions) +
                              " positions, and what was recorded; lower --max-new-tokens to " +
                              std::to_string(room));
        for (std::size_t layer = 0; layer < config.sliding_window.size(); ++layer)
            if (const auto& window = config.sliding_window[layer]; window && *window < longest)
                throw usage_error("running sequence " + sequence.name + " live: layer " +
                                  std::to_string(layer) + " sees a sliding window of " +
                                  std::to_string(*window) +
                                  " tokens, shorter than the sequence; compressed caches are "
                                  "defined for full attention");
    }
}

}  // namespace kvtape::live
