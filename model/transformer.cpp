#include "model/transformer.hpp"

#include "core/error.hpp"
#include "core/half.hpp"
#include "model/kv_cache_state.hpp"
#include "model/logit_check.hpp"
#include "model/rope.hpp"
#include "model/safetensors.hpp"
#include "model/weights.hpp"

#include <algorithm>
#include <limits>
#include <string>

namespace kvtape::model {
namespace {

/// One named buffer of activations, at most `rows` rows high.
class Room {
  public:
    void make(Backend& backend, std::int64_t rows, std::int64_t columns) {
        columns_ = columns;
        buffer_ = backend.allocate(
            static_cast<std::size_t>(rows * columns * bytes_of(backend.element_type())));
    }
    Activations rows(std::int64_t count) const { return {buffer_.data(), count, columns_}; }

  private:
    Buffer buffer_;
    std::int64_t columns_ = 0;
};

/// The activations of one chunk. Reused from chunk to chunk and layer to layer.
struct Workspace {
    std::int64_t capacity = 0;
    Room stream, normed, queries, keys, values, attended, projected, gate, up;
    Buffer logsumexp;

    void reserve(Backend& backend, const Config& config, std::int64_t rows) {
        if (rows <= capacity)
            return;
        const std::int64_t query_width = std::int64_t{config.query_heads} * config.head_dim;
        const std::int64_t kv_width = std::int64_t{config.kv_heads} * config.head_dim;
        stream.make(backend, rows, config.hidden_size);
        normed.make(backend, rows, config.hidden_size);
        projected.make(backend, rows, config.hidden_size);
        queries.make(backend, rows, query_width);
        attended.make(backend, rows, query_width);
        keys.make(backend, rows, kv_width);
        values.make(backend, rows, kv_width);
        gate.make(backend, rows, config.intermediate_size);
        up.make(backend, rows, config.intermediate_size);
        logsumexp =
            backend.allocate(static_cast<std::size_t>(config.query_heads * rows) * sizeof(float));
        capacity = rows;
    }
};

/// Row `row` alone.
Activations row_of(const Activations& x, std::int64_t row, ElementType type) {
    return {static_cast<std::byte*>(x.data) + row * x.columns * bytes_of(type), 1, x.columns};
}

/// The rows at `positions` on the host, regrouped from [n, heads * dim] to [heads * n, dim].
std::vector<float> gather_rows(Backend& backend,
                               const Activations& x,
                               std::span<const Position> positions,
                               Position first,
                               std::int64_t dim) {
    const std::int64_t heads = x.columns / dim;
    const std::ptrdiff_t count = std::ssize(positions);
    std::vector<float> gathered(static_cast<std::size_t>(x.columns * count));
    for (std::ptrdiff_t i = 0; i < count;) {
        std::ptrdiff_t end = i + 1;
        while (end < count && positions[static_cast<std::size_t>(end)] ==
                                  positions[static_cast<std::size_t>(end - 1)] + 1)
            ++end;
        const Activations begin =
            row_of(x, positions[static_cast<std::size_t>(i)] - first, backend.element_type());
        const std::vector<float> run =
            backend.to_host(begin.data, static_cast<std::size_t>((end - i) * x.columns));
        for (std::ptrdiff_t row = 0; row < end - i; ++row)
            for (std::int64_t head = 0; head < heads; ++head)
                std::copy_n(run.data() + row * x.columns + head * dim,
                            dim,
                            gathered.data() + (head * count + i + row) * dim);
        i = end;
    }
    return gathered;
}

}  // namespace

struct Transformer::State {
    State(Backend& home, Config fields, const std::filesystem::path& directory)
        : backend(home),
          config(std::move(fields)),
          shape(config.shape(home.element_type())),
          checkpoint(Checkpoint::open(directory)),
          weights(read_weights(checkpoint, config, home)) {}

    void embed(std::span<const std::int32_t> tokens);
    void run_layer(std::int32_t index, const Block& block, KvCache::State& cache, Tap* tap);
    void project(const LayerWeights& layer, const Activations& x, Position first);
    void attend(std::int32_t index, const Block& block, KvCache::State& cache, Tap* tap);
    void deliver(std::int32_t index,
                 const Block& block,
                 std::span<const Position> positions,
                 const std::vector<float>& inputs,
                 Tap& tap) const;
    void feed_forward(const LayerWeights& layer, std::int64_t rows);
    std::vector<float> logits(std::int64_t row);

    Backend& backend;
    Config config;
    Shape shape;
    Checkpoint checkpoint;  ///< weights may point into its files
    Weights weights;
    Workspace work;
};

void Transformer::State::embed(std::span<const std::int32_t> tokens) {
    backend.embed(tokens, *weights.embedding, work.stream.rows(std::ssize(tokens)));
}

/// Queries, keys and values of the block, normalised where the architecture does, then rotated.
void Transformer::State::project(const LayerWeights& layer, const Activations& x, Position first) {
    const Activations queries = work.queries.rows(x.rows);
    const Activations keys = work.keys.rows(x.rows);
    backend.linear(x, *layer.query.weight, layer.query.bias.get(), queries);
    backend.linear(x, *layer.key.weight, layer.key.bias.get(), keys);
    backend.linear(x, *layer.value.weight, layer.value.bias.get(), work.values.rows(x.rows));
    if (config.qk_norm) {
        const auto by_head = [&](const Activations& all) {
            return Activations{all.data, all.rows * all.columns / config.head_dim, config.head_dim};
        };
        backend.rms_norm(
            by_head(queries), *layer.query_norm, config.norm_epsilon, by_head(queries));
        backend.rms_norm(by_head(keys), *layer.key_norm, config.norm_epsilon, by_head(keys));
    }
    for (const Activations& rotated : {queries, keys})
        backend.rope(rotated,
                     config.head_dim,
                     config.inverse_frequencies,
                     config.rope_attention_scale,
                     first);
}

void Transformer::State::attend(std::int32_t index,
                                const Block& block,
                                KvCache::State& cache,
                                Tap* tap) {
    const Position rows = block.end - block.begin;
    backend.append(work.keys.rows(rows), work.values.rows(rows), shape, cache.layer(index));
    if (tap != nullptr) {
        KvCache::State::Layer& layer = cache.layers[static_cast<std::size_t>(index)];
        cache.advance(layer, rows);
        tap->appended(index, block);
        cache.retreat(layer, rows);
    }
    const bool counts = block.begin < cache.column_limit;
    backend.attend({.shape = shape,
                    .queries = work.queries.rows(rows),
                    .cache = cache.layer(index),
                    .outputs = work.attended.rows(rows),
                    .first = block.begin,
                    .window = config.sliding_window[static_cast<std::size_t>(index)].value_or(0),
                    .logsumexp = static_cast<float*>(work.logsumexp.data()),
                    .column_sums = counts ? cache.column_sums(index) : nullptr,
                    .column_limit = cache.column_limit});
}

void Transformer::State::deliver(std::int32_t index,
                                 const Block& block,
                                 std::span<const Position> positions,
                                 const std::vector<float>& inputs,
                                 Tap& tap) const {
    const std::int64_t rows = block.end - block.begin;
    const std::ptrdiff_t count = std::ssize(positions);
    const auto gather = [&](const Room& room) {
        return gather_rows(backend, room.rows(rows), positions, block.begin, shape.head_dim);
    };
    const std::vector<float> queries = gather(work.queries);
    const std::vector<float> outputs = gather(work.attended);
    std::vector<float> all(static_cast<std::size_t>(shape.query_heads * rows));
    backend.download(std::as_writable_bytes(std::span(all)), work.logsumexp.data());
    Matrix logsumexp(shape.query_heads, count);
    for (std::int32_t head = 0; head < shape.query_heads; ++head)
        for (std::ptrdiff_t i = 0; i < count; ++i)
            logsumexp(head, i) = all[static_cast<std::size_t>(
                head * rows + positions[static_cast<std::size_t>(i)] - block.begin)];
    const Eigen::Index height = shape.query_heads * count;
    tap.take({.layer = index,
              .positions = positions,
              .queries = view(queries.data(), height, shape.head_dim),
              .outputs = view(outputs.data(), height, shape.head_dim),
              .logsumexp = view(logsumexp),
              .inputs = view(inputs.data(), inputs.empty() ? 0 : count, config.hidden_size)});
}

void Transformer::State::feed_forward(const LayerWeights& layer, std::int64_t rows) {
    const Activations normed = work.normed.rows(rows);
    const Activations gate = work.gate.rows(rows);
    const Activations up = work.up.rows(rows);
    const Activations down = work.projected.rows(rows);
    backend.rms_norm(work.stream.rows(rows), *layer.mlp_norm, config.norm_epsilon, normed);
    backend.linear(normed, *layer.gate.weight, layer.gate.bias.get(), gate);
    backend.linear(normed, *layer.up.weight, layer.up.bias.get(), up);
    backend.swiglu(gate, up, gate);
    backend.linear(gate, *layer.down.weight, layer.down.bias.get(), down);
    backend.add(work.stream.rows(rows), down);
}

void Transformer::State::run_layer(std::int32_t index,
                                   const Block& block,
                                   KvCache::State& cache,
                                   Tap* tap) {
    const LayerWeights& layer = weights.layers[static_cast<std::size_t>(index)];
    const std::int64_t rows = block.end - block.begin;
    const TapRequest request = tap == nullptr ? TapRequest() : tap->wants(index, block);
    for (const Position position : request.positions)
        if (position < block.begin || position >= block.end)
            throw internal_error("recording layer " + std::to_string(index) + ": position " +
                                 std::to_string(position) + " is outside the block");
    const Activations normed = work.normed.rows(rows);
    backend.rms_norm(work.stream.rows(rows), *layer.attention_norm, config.norm_epsilon, normed);
    std::vector<float> inputs;
    if (request.inputs)
        inputs = gather_rows(backend, normed, request.positions, block.begin, config.hidden_size);
    project(layer, normed, block.begin);
    attend(index, block, cache, tap);
    backend.linear(work.attended.rows(rows),
                   *layer.output.weight,
                   layer.output.bias.get(),
                   work.projected.rows(rows));
    backend.add(work.stream.rows(rows), work.projected.rows(rows));
    feed_forward(layer, rows);
    if (!request.positions.empty())
        deliver(index, block, request.positions, inputs, *tap);
}

std::vector<float> Transformer::State::logits(std::int64_t row) {
    const ElementType type = backend.element_type();
    const Activations last = row_of(work.stream.rows(row + 1), row, type);
    backend.rms_norm(last, *weights.final_norm, config.norm_epsilon, work.normed.rows(1));
    const auto count = static_cast<std::size_t>(config.vocabulary);
    const Buffer out = backend.allocate(count * static_cast<std::size_t>(bytes_of(type)));
    backend.linear(work.normed.rows(1),
                   weights.head == nullptr ? *weights.embedding : *weights.head,
                   nullptr,
                   {out.data(), 1, config.vocabulary});
    return backend.to_host(out.data(), count);
}

Transformer::Transformer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Transformer::Transformer(Transformer&&) noexcept = default;
Transformer::~Transformer() = default;

Transformer Transformer::load(const std::filesystem::path& directory, Backend& backend) {
    return load(directory, Config::load(directory / "config.json"), backend);
}

Transformer Transformer::load(const std::filesystem::path& directory,
                              Config config,
                              Backend& backend) {
    return Transformer(std::make_unique<State>(backend, std::move(config), directory));
}

const Config& Transformer::config() const {
    return state_->config;
}

const Shape& Transformer::shape() const {
    return state_->shape;
}

Backend& Transformer::backend() const {
    return state_->backend;
}

std::vector<float> Transformer::output_projection(std::int32_t layer) const {
    const std::int64_t width = std::int64_t{state_->config.query_heads} * state_->config.head_dim;
    const std::int64_t hidden = state_->config.hidden_size;
    const Checkpoint::Tensor tensor =
        state_->checkpoint.tensor(output_projection_name(layer), {hidden, width});
    std::vector<float> values(static_cast<std::size_t>(hidden * width));
    decode(tensor.type, tensor.bytes, values);
    return values;
}

std::vector<float> Transformer::forward(std::span<const std::int32_t> tokens,
                                        KvCache& cache,
                                        Tap* tap,
                                        Position chunk) {
    State& state = *state_;
    KvCache::State& entries = *cache.state_;
    if (tokens.empty() || chunk < 1)
        throw usage_error("running the model: needs at least one token and chunks of at least one");
    for (const std::int32_t token : tokens)
        if (token < 0 || token >= state.config.vocabulary)
            throw format_error("running the model: the token id " + std::to_string(token) +
                               " is outside its vocabulary of " +
                               std::to_string(state.config.vocabulary));
    const Position start = entries.length;
    if (std::ssize(tokens) > std::numeric_limits<Position>::max() - start)
        throw format_error("running the model: " + std::to_string(tokens.size()) +
                           " tokens are too many");
    const Position end = start + static_cast<Position>(tokens.size());
    expect_fixed_rope(state.config, end);
    const bool decoding = tokens.size() == 1 && start > 0;
    entries.reserve(end - start);
    state.work.reserve(state.backend, state.config, std::min<std::int64_t>(chunk, end - start));
    Block block;
    for (Position begin = start; begin < end; begin = block.end) {
        block = {begin, begin + std::min(chunk, end - begin), decoding};
        state.embed(tokens.subspan(static_cast<std::size_t>(begin - start),
                                   static_cast<std::size_t>(block.end - begin)));
        for (std::int32_t layer = 0; layer < state.config.layers; ++layer)
            state.run_layer(layer, block, entries, tap);
        entries.advance(block.end - block.begin);
    }
    std::vector<float> logits = state.logits(block.end - block.begin - 1);
    expect_numbers(logits, state.backend.element_type(), end - 1);
    return logits;
}

}  // namespace kvtape::model
