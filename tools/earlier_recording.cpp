#include "tools/earlier_recording.hpp"

#include "core/error.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <system_error>
#include <tuple>

namespace kvtape {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& file) {
    std::error_code failure;
    return fs::exists(file, failure);
}

/// A file that was cut off; null where there is none.
std::unique_ptr<Trace> open_cut_off(const fs::path& file, int threads) {
    return is_there(file) ? open_trace(file, Unfinished::allow, threads) : nullptr;
}

auto tensors(const LayerData& data) {
    return std::tie(data.keys,
                    data.values,
                    data.queries,
                    data.outputs,
                    data.logsumexp,
                    data.column_sums,
                    data.attention,
                    data.query_mean,
                    data.query_covariance,
                    data.replay_queries,
                    data.replay_logsumexp,
                    data.replay_hidden_norm);
}

Error refusal(const fs::path& out, const std::string& found) {
    return usage_error("resuming " + out.string() + ": " + found +
                       "; give the model and the options of the earlier run, or record anew with "
                       "--overwrite");
}

std::string name_of(std::int32_t index) {
    return "sequence " + std::to_string(index);
}

}  // namespace

fs::path set_aside(const fs::path& out) {
    return out.string() + ".earlier";
}

EarlierRecording::EarlierRecording(const fs::path& out, int threads) : out_(out) {
    if (is_there(out)) {
        complete_ = true;
        trace_ = open_trace(out, Unfinished::refuse, threads);
        return;
    }
    std::unique_ptr<Trace> aside = open_cut_off(set_aside(out), threads);
    try {
        trace_ = open_cut_off(out.string() + ".partial", threads);
    } catch (Error& error) {
        // A run that resumed and was cut off at once loses nothing: all of it lies aside.
        if (!aside) {
            error.add("resuming " + out.string() + " (--overwrite records it anew)");
            throw;
        }
    }
    aside_ = aside && aside->sequences() >= sequences();
    if (aside_)
        trace_ = std::move(aside);
}

void EarlierRecording::expect_model(const TraceInfo& now, bool output_projection) const {
    const TraceInfo& then = trace_->info();
    if (then.model_config != now.model_config)
        throw refusal(out_, "it was recorded with another model, '" + then.model_id + "'");
    if (!(then.shape == now.shape))
        throw refusal(out_, "it was recorded with another --dtype");
    if (trace_->has_output_projections() != output_projection)
        throw refusal(out_,
                      output_projection ? "it was recorded without --output-projection"
                                        : "it was recorded with --output-projection");
}

void EarlierRecording::expect_prompt(std::int32_t index, const workload::Prompt& prompt) const {
    const SequenceInfo& then = sequence(index);
    const bool same_tokens =
        then.prompt_len == prompt.prompt_len && then.context_len == prompt.context_len &&
        std::equal(prompt.tokens.begin(), prompt.tokens.end(), then.tokens.begin());
    if (!same_tokens || then.task != prompt.task || then.answer != prompt.answer ||
        then.seed != prompt.seed)
        throw refusal(out_, name_of(index) + " was another prompt");
    std::vector<Span> spans = then.spans;
    if (!spans.empty() && spans.back().kind == SpanKind::answer)
        spans.pop_back();
    if (spans != prompt.spans)
        throw refusal(out_, name_of(index) + " had other needles");
}

void EarlierRecording::expect_same(std::int32_t index, const Trace& again) const {
    const SequenceInfo& then = sequence(index);
    const SequenceInfo& now = again.sequence(0);
    if (then.tokens != now.tokens)
        throw refusal(out_, name_of(index) + " has another answer when it is recorded today");
    if (then.query_positions != now.query_positions)
        throw refusal(out_, name_of(index) + " was recorded with other --queries");
    const LayerParts stored = trace_->stored(index);
    if (!(stored == again.stored(0)))
        throw refusal(out_,
                      name_of(index) +
                          " was recorded with other --queries, --attention or --query-statistics");
    LayerData before, after;
    for (std::int32_t layer = 0; layer < trace_->info().shape.layers; ++layer) {
        trace_->load(index, layer, stored, before);
        again.load(0, layer, stored, after);
        if (tensors(before) != tensors(after))
            throw refusal(out_,
                          name_of(index) + ", layer " + std::to_string(layer) +
                              ": recorded today it holds other numbers (other weights, or "
                              "another device)");
    }
}

void EarlierRecording::make_way() {
    if (complete_ || aside_ || !trace_)
        return;
    const fs::path partial = out_.string() + ".partial";
    std::error_code failure;
    fs::rename(partial, set_aside(out_), failure);
    if (failure)
        throw system_error("moving " + partial.string() + " to " + set_aside(out_).string(),
                           failure.value());
    aside_ = true;
}

void EarlierRecording::copy(std::int32_t index, TraceWriter& writer) const {
    const LayerParts stored = trace_->stored(index);
    LayerData data;
    writer.begin_sequence(sequence(index));
    for (std::int32_t layer = 0; layer < trace_->info().shape.layers; ++layer) {
        trace_->load(index, layer, stored, data);
        writer.write_layer(layer, data);
    }
    writer.end_sequence();
}

}  // namespace kvtape
