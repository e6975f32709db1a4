#include "tools/second_pass.hpp"

#include "core/exp.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// First tokens of the context that every row sees besides its piece.
constexpr Position sinks = 4;
/// Tokens of the piece before, that tell a later piece where to begin.
constexpr std::size_t reminder = 8;

/// What the model is asked before the piece that begins at `begin`.
std::vector<std::int32_t> instruction(const model::Tokenizer& tokenizer,
                                      std::span<const std::int32_t> context,
                                      Position begin) {
    if (begin == 0)
        return tokenizer.encode("\n\nRepeat the previous context exactly.\n\n").ids;
    std::vector<std::int32_t> ids =
        tokenizer.encode("\n\nRepeat the part of the previous context exactly, starting with ").ids;
    const auto last = context.subspan(static_cast<std::size_t>(begin) - reminder, reminder);
    ids.insert(ids.end(), last.begin(), last.end());
    const std::vector<std::int32_t> end = tokenizer.encode("\n\n").ids;
    ids.insert(ids.end(), end.begin(), end.end());
    return ids;
}

/// What the model reads for the piece that begins at `begin`: the instruction, then the piece.
std::vector<std::int32_t> reading(const model::Tokenizer& tokenizer,
                                  std::span<const std::int32_t> context,
                                  Position begin) {
    std::vector<std::int32_t> tokens = instruction(tokenizer, context, begin);
    const auto rest = context.subspan(static_cast<std::size_t>(begin));
    const auto part = rest.first(std::min<std::size_t>(rest.size(), SecondPass::piece));
    tokens.insert(tokens.end(), part.begin(), part.end());
    return tokens;
}

/// Turns [n, heads, width] into [heads, n, width].
std::vector<float> heads_first(const std::vector<float>& rows, Index heads, Index width) {
    std::vector<float> turned(rows.size());
    const Index count = std::ssize(rows) / (heads * width);
    for (Index row = 0; row < count; ++row)
        for (Index head = 0; head < heads; ++head)
            std::copy_n(rows.begin() + (row * heads + head) * width,
                        width,
                        turned.begin() + (head * count + row) * width);
    return turned;
}

}  // namespace

/// Takes queries and input norms of everything that runs.
class SecondPass::Listener final : public Tap {
  public:
    explicit Listener(const Shape& shape)
        : shape_(shape),
          layers(static_cast<std::size_t>(shape.layers)) {}

    TapRequest wants(std::int32_t, const Block& block) override {
        positions_.resize(static_cast<std::size_t>(block.end - block.begin));
        std::iota(positions_.begin(), positions_.end(), block.begin);
        return {.positions = positions_, .inputs = true};
    }

    void take(const TapRows& rows) override {
        Rows& layer = layers[static_cast<std::size_t>(rows.layer)];
        const Index count = std::ssize(rows.positions);
        for (Index row = 0; row < count; ++row) {
            for (Index head = 0; head < shape_.query_heads; ++head) {
                const float* query = rows.queries.row(head * count + row).data();
                layer.queries.insert(layer.queries.end(), query, query + shape_.head_dim);
            }
            const std::span<const float> input(rows.inputs.row(row).data(),
                                               static_cast<std::size_t>(rows.inputs.cols()));
            layer.norms.push_back(std::sqrt(dot(input, input)));
        }
    }

  private:
    Shape shape_;
    std::vector<Position> positions_;

  public:
    std::vector<Rows> layers;
};

std::vector<ReplayChunk> SecondPass::layout(const model::Tokenizer& tokenizer,
                                            std::span<const std::int32_t> context) {
    std::vector<ReplayChunk> chunks;
    const auto length = static_cast<Position>(context.size());
    std::int32_t rows = 0;
    for (Position begin = 0; begin < length; begin += piece) {
        const auto count = static_cast<std::int32_t>(reading(tokenizer, context, begin).size());
        chunks.push_back({.begin = begin,
                          .end = std::min(length, begin + piece),
                          .first = rows,
                          .count = count});
        rows += count;
    }
    return chunks;
}

SecondPass::SecondPass(model::Transformer& model,
                       const model::Tokenizer& tokenizer,
                       std::span<const std::int32_t> context,
                       model::KvCache& cache,
                       int threads)
    : model_(model),
      cache_(cache),
      context_len_(static_cast<Position>(context.size())),
      threads_(threads),
      layers_(static_cast<std::size_t>(model.shape().layers)) {
    chunks_ = layout(tokenizer, context);
    for (const ReplayChunk& chunk : chunks_)
        run(chunk, reading(tokenizer, context, chunk.begin));
    cache_.seek(context_len_);
}

void SecondPass::run(const ReplayChunk& chunk, const std::vector<std::int32_t>& tokens) {
    const Shape& shape = model_.shape();
    cache_.seek(context_len_);
    Listener listener(shape);
    model_.forward(tokens, cache_, &listener);
    for (std::int32_t number = 0; number < shape.layers; ++number) {
        const Rows& rows = listener.layers[static_cast<std::size_t>(number)];
        Layer& layer = layers_[static_cast<std::size_t>(number)];
        layer.queries.insert(layer.queries.end(), rows.queries.begin(), rows.queries.end());
        layer.norms.insert(layer.norms.end(), rows.norms.begin(), rows.norms.end());
        const std::size_t before = layer.logsumexp.size();
        layer.logsumexp.resize(before +
                               tokens.size() * static_cast<std::size_t>(shape.query_heads));
        normalise(
            chunk, cache_.keys(number), rows.queries, std::span(layer.logsumexp).subspan(before));
    }
}

/// ln of the sum of exp over the sinks, the piece, and the tokens read since, up to the row's own.
void SecondPass::normalise(const ReplayChunk& chunk,
                           const std::vector<float>& keys,
                           std::span<const float> queries,
                           std::span<float> logsumexp) const {
    const Shape& shape = model_.shape();
    const Index dim = shape.head_dim, heads = shape.query_heads, cached = cache_.length();
    const Index first = std::min<Index>(sinks, chunk.begin);
    const Index length = chunk.end - chunk.begin;
    parallel_for(static_cast<std::size_t>(heads), threads_, [&](std::size_t index) {
        const auto head = static_cast<Index>(index);
        const float* own = keys.data() + head / shape.group() * cached * dim;
        Matrix seen(first + length + chunk.count, dim);
        seen.topRows(first) = view(own, first, dim);
        seen.middleRows(first, length) = view(own + chunk.begin * dim, length, dim);
        seen.bottomRows(chunk.count) = view(own + context_len_ * dim, chunk.count, dim);
        const Packed packed = Packed::transposed(view(seen));
        Matrix query(1, dim), logits(1, seen.rows());
        for (Index row = 0; row < chunk.count; ++row) {
            query = view(queries.data() + (row * heads + head) * dim, 1, dim) *
                    static_cast<float>(shape.softmax_scale);
            multiply(view(query), packed, mutable_view(logits));
            const std::span<float> visible(logits.data(),
                                           static_cast<std::size_t>(first + length + row + 1));
            const float largest = maximum(visible);
            const double total = exp_shifted(visible, largest);
            logsumexp[static_cast<std::size_t>(row * heads + head)] =
                static_cast<float>(static_cast<double>(largest) + logarithm(total));
        }
    });
}

void SecondPass::move_into(std::int32_t layer, LayerData& data) {
    Layer& own = layers_[static_cast<std::size_t>(layer)];
    const Shape& shape = model_.shape();
    data.replay_queries = heads_first(own.queries, shape.query_heads, shape.head_dim);
    data.replay_logsumexp = heads_first(own.logsumexp, shape.query_heads, 1);
    data.replay_hidden_norm = std::move(own.norms);
    own = {};
}

}  // namespace kvtape
