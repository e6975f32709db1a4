#include "tools/recording.hpp"

#include "core/json.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"
#include "model/utf8.hpp"
#include "tools/progress.hpp"
#include "tools/second_pass.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <limits>
#include <numeric>
#include <system_error>
#include <utility>

namespace kvtape {
namespace {

constexpr std::int32_t logits_kept = 20;
/// The first tokens attract attention whatever they are; their queries do not count.
constexpr Position statistics_from = 4;

Rotation rotation_of(const model::Config& config) {
    return {.rotary_dim = config.head_dim,
            .interleaved = false,
            .inv_freq = config.inverse_frequencies};
}

/// Turns [n, heads, width] into [heads, n, width].
std::vector<float> heads_first(const std::vector<float>& rows,
                               std::int32_t heads,
                               std::int32_t width) {
    const auto head_count = static_cast<std::size_t>(heads);
    const auto size = static_cast<std::size_t>(width);
    const std::size_t count = rows.size() / (head_count * size);
    std::vector<float> turned(rows.size());
    for (std::size_t row = 0; row < count; ++row)
        for (std::size_t head = 0; head < head_count; ++head)
            std::copy_n(rows.data() + (row * head_count + head) * size,
                        size,
                        turned.data() + (head * count + row) * size);
    return turned;
}

std::string now_utc() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 32> text{};
    return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string name_of_folder(const std::filesystem::path& folder) {
    std::error_code failure;
    const std::filesystem::path whole = std::filesystem::weakly_canonical(folder, failure);
    return whole.has_filename() ? whole.filename().string()
                                : whole.parent_path().filename().string();
}

Position first_query(const workload::Prompt& prompt, Position context_queries) {
    return context_queries < 0 ? 0 : std::max(0, prompt.context_len - context_queries);
}

}  // namespace

std::string as_utf8(const std::string& bytes) {
    std::string text;
    for (std::size_t at = 0; at < bytes.size();) {
        const auto point = model::code_point_at(bytes, at);
        const std::size_t size = point ? point->bytes : 1;
        text += point ? bytes.substr(at, size) : "\xEF\xBF\xBD";
        at += size;
    }
    return text;
}

TraceInfo describe_trace(const model::Transformer& model, const std::filesystem::path& folder) {
    TraceInfo info;
    info.shape = model.shape();
    info.producer = "kvtape " KVTAPE_VERSION " (" + model.backend().name() + ")";
    info.created_utc = now_utc();
    info.model_id = name_of_folder(folder);
    info.model_config = model.config().text;
    info.rope = to_text(model.config().rope());
    info.sliding_window = model.config().sliding_window;
    return info;
}

QueryRecorder::QueryRecorder(const Shape& shape, Position first, std::function<void(Position)> ran)
    : shape_(shape),
      first_(first),
      ran_(std::move(ran)),
      layers_(static_cast<std::size_t>(shape.layers)) {}

TapRequest QueryRecorder::wants(std::int32_t layer, const Block& block) {
    if (ran_)
        ran_(positions_behind(layer, block, shape_.layers));
    const Position first = statistics_ ? std::min(first_, statistics_->begin) : first_;
    const Position begin = std::max(first, block.begin);
    wanted_.resize(static_cast<std::size_t>(std::max(0, block.end - begin)));
    std::iota(wanted_.begin(), wanted_.end(), begin);
    return {.positions = wanted_};
}

void QueryRecorder::gather_statistics(Rotation rotation,
                                      Position begin,
                                      Position end,
                                      int threads) {
    const auto heads = static_cast<std::size_t>(shape_.layers * shape_.query_heads);
    statistics_ = Statistics{.rotation = std::move(rotation),
                             .begin = begin,
                             .end = end,
                             .threads = threads,
                             .moments = std::vector(heads, QueryMoments(shape_.head_dim)),
                             .positions = {},
                             .turns = {}};
}

void QueryRecorder::count(const TapRows& rows) {
    Statistics& statistics = *statistics_;
    const auto first =
        std::lower_bound(rows.positions.begin(), rows.positions.end(), statistics.begin);
    const auto last = std::lower_bound(first, rows.positions.end(), statistics.end);
    const std::vector<Position> positions(first, last);
    if (!statistics.turns || statistics.positions != positions) {
        statistics.positions = positions;
        statistics.turns.emplace(statistics.rotation, positions);
    }
    const auto all = static_cast<Eigen::Index>(rows.positions.size());
    const Eigen::Index skipped = first - rows.positions.begin();
    const auto heads = static_cast<std::size_t>(shape_.query_heads);
    parallel_for(heads, statistics.threads, [&](std::size_t head) {
        const Eigen::Index row = static_cast<Eigen::Index>(head) * all + skipped;
        statistics.moments[static_cast<std::size_t>(rows.layer) * heads + head].add(
            *statistics.turns,
            MatrixView(rows.queries.data() + row * rows.queries.outerStride(),
                       std::ssize(positions),
                       shape_.head_dim,
                       Eigen::OuterStride<>(rows.queries.outerStride())));
    });
}

void QueryRecorder::take(const TapRows& rows) {
    if (statistics_)
        count(rows);
    Rows& layer = layers_[static_cast<std::size_t>(rows.layer)];
    const auto count = static_cast<Eigen::Index>(rows.positions.size());
    const auto append = [](std::vector<float>& to, const float* from, Eigen::Index size) {
        to.insert(to.end(), from, from + size);
    };
    const auto kept = std::lower_bound(rows.positions.begin(), rows.positions.end(), first_);
    for (Eigen::Index row = kept - rows.positions.begin(); row < count; ++row)
        for (Eigen::Index head = 0; head < shape_.query_heads; ++head) {
            const Eigen::Index at = head * count + row;
            append(layer.queries, rows.queries.row(at).data(), shape_.head_dim);
            append(layer.outputs, rows.outputs.row(at).data(), shape_.head_dim);
            layer.logsumexp.push_back(rows.logsumexp(head, row));
        }
}

std::vector<Position> QueryRecorder::positions() const {
    const auto heads = static_cast<std::size_t>(shape_.query_heads);
    std::vector<Position> positions(layers_.front().logsumexp.size() / heads);
    std::iota(positions.begin(), positions.end(), first_);
    return positions;
}

void QueryRecorder::fill(std::int32_t layer, LayerData& data) const {
    const Rows& rows = layers_[static_cast<std::size_t>(layer)];
    data.queries = heads_first(rows.queries, shape_.query_heads, shape_.head_dim);
    data.outputs = heads_first(rows.outputs, shape_.query_heads, shape_.head_dim);
    data.logsumexp = heads_first(rows.logsumexp, shape_.query_heads, 1);
    if (!statistics_)
        return;
    const auto heads = static_cast<std::size_t>(shape_.query_heads);
    for (std::size_t head = 0; head < heads; ++head) {
        const QueryMoments& moments =
            statistics_->moments[static_cast<std::size_t>(layer) * heads + head];
        const std::vector<float> mean = moments.mean(), covariance = moments.covariance();
        data.query_mean.insert(data.query_mean.end(), mean.begin(), mean.end());
        data.query_covariance.insert(
            data.query_covariance.end(), covariance.begin(), covariance.end());
    }
}

Recording::Recording(model::Transformer& model,
                     const model::Tokenizer& tokenizer,
                     const workload::Prompt& prompt,
                     const RecordingOptions& options)
    : model_(model),
      options_(options),
      queries_(model.shape(), first_query(prompt, options.context_queries), options.progress),
      cache_(model, prompt.context_len) {
    if (options.query_statistics)
        queries_.gather_statistics(
            rotation_of(model.config()), statistics_from, prompt.context_len, options.threads);
    const model::Generation generation =
        model::generate(model,
                        prompt.tokens,
                        {.max_new_tokens = options.max_new_tokens,
                         .stop = model.config().stop_tokens,
                         .top_logits = std::min(logits_kept, model.config().vocabulary),
                         .pause = prompt.context_len},
                        cache_,
                        &queries_);
    describe(tokenizer, prompt, generation);
    if (options.replay && prompt.context_len > 0)
        replay(tokenizer);
}

void Recording::replay(const model::Tokenizer& tokenizer) {
    for (std::int32_t layer = 0; layer < model_.shape().layers; ++layer) {
        LayerData& kept = kept_.emplace_back();
        kept.keys = cache_.keys(layer);
        kept.values = cache_.values(layer);
        kept.column_sums = cache_.column_sums(layer);
    }
    const std::span<const std::int32_t> context =
        std::span(sequence_.tokens).first(static_cast<std::size_t>(sequence_.context_len));
    SecondPass pass(model_, tokenizer, context, cache_, options_.threads);
    sequence_.replay_chunks = pass.chunks();
    for (std::int32_t layer = 0; layer < model_.shape().layers; ++layer)
        pass.move_into(layer, kept_[static_cast<std::size_t>(layer)]);
}

void Recording::describe(const model::Tokenizer& tokenizer,
                         const workload::Prompt& prompt,
                         const model::Generation& generation) {
    sequence_.prompt_len = prompt.prompt_len;
    sequence_.context_len = prompt.context_len;
    sequence_.task = prompt.task;
    sequence_.seed = prompt.seed;
    sequence_.answer = prompt.answer;
    sequence_.generated_text = as_utf8(tokenizer.decode(generation.tokens));
    if (!prompt.answer.empty() && options_.max_new_tokens > 0)
        sequence_.correct = workload::is_right(sequence_.generated_text, prompt.answer) ? 1 : 0;
    sequence_.device = model_.backend().description();

    sequence_.tokens = prompt.tokens;
    sequence_.text = prompt.text;
    sequence_.text_offsets = prompt.text_offsets;
    sequence_.spans = prompt.spans;
    for (const std::int32_t token : generation.tokens) {
        sequence_.tokens.push_back(token);
        sequence_.text += tokenizer.bytes_of(token);
        sequence_.text_offsets.push_back(static_cast<std::int64_t>(sequence_.text.size()));
    }
    if (!generation.tokens.empty())
        sequence_.spans.push_back({.kind = SpanKind::answer,
                                   .begin = prompt.prompt_len,
                                   .end = sequence_.length(),
                                   .group = 0});
    sequence_.query_positions = queries_.positions();
    sequence_.top_logits = std::min(logits_kept, model_.config().vocabulary);
    sequence_.logits_top = generation.logits_top;
    sequence_.logits_top_ids = generation.logits_top_ids;
}

LayerData Recording::layer(std::int32_t layer) const {
    LayerData data;
    if (!kept_.empty()) {
        data = kept_[static_cast<std::size_t>(layer)];
    } else {
        data.keys = cache_.keys(layer);
        data.values = cache_.values(layer);
        data.column_sums = cache_.column_sums(layer);
    }
    queries_.fill(layer, data);
    if (options_.attention)
        add_attention(layer, data);
    return data;
}

void Recording::write(TraceWriter& writer) const {
    writer.begin_sequence(sequence_);
    for (std::int32_t number = 0; number < model_.shape().layers; ++number)
        writer.write_layer(number, layer(number));
    writer.end_sequence();
}

void Recording::add_attention(std::int32_t layer, LayerData& data) const {
    const Shape& shape = model_.shape();
    const Eigen::Index tokens = sequence_.length();
    const Eigen::Index rows = std::ssize(sequence_.query_positions);
    const auto window = model_.config().sliding_window[static_cast<std::size_t>(layer)];
    data.attention.assign(static_cast<std::size_t>(shape.query_heads * rows * tokens), 0.0f);
    const float scale = static_cast<float>(shape.softmax_scale);
    parallel_for(
        static_cast<std::size_t>(shape.query_heads), options_.threads, [&](std::size_t index) {
            const auto head = static_cast<Eigen::Index>(index);
            const Eigen::Index kv_head = head / shape.group();
            MutableMatrixView out =
                mutable_view(data.attention.data() + head * rows * tokens, rows, tokens);
            multiply_transposed(
                view(data.queries.data() + head * rows * shape.head_dim, rows, shape.head_dim),
                view(data.keys.data() + kv_head * tokens * shape.head_dim, tokens, shape.head_dim),
                out);
            for (Eigen::Index row = 0; row < rows; ++row) {
                const Position query = sequence_.query_positions[static_cast<std::size_t>(row)];
                const Position begin = window ? std::max(0, query + 1 - *window) : 0;
                const std::span<float> line(out.row(row).data(), static_cast<std::size_t>(tokens));
                for (float& logit : line)
                    logit *= scale;
                std::fill_n(line.begin(), begin, -std::numeric_limits<float>::infinity());
                std::fill(
                    line.begin() + query + 1, line.end(), -std::numeric_limits<float>::infinity());
                exp_shifted(line, data.logsumexp[static_cast<std::size_t>(head * rows + row)]);
            }
        });
}

}  // namespace kvtape
