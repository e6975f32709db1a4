#include "tests/support/layer.hpp"

#include "tests/support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvtape::testing {
namespace {

std::size_t size(std::int64_t count) {
    return static_cast<std::size_t>(count);
}

/// About normal: the sum of four uniform numbers, centred, unit variance.
float draw(const Philox& random, std::uint64_t index) {
    double sum = 0.0;
    for (std::uint64_t i = 0; i < 4; ++i)
        sum += random.uniform(4 * index + i);
    return static_cast<float>((sum - 2.0) * std::sqrt(3.0));
}

std::vector<float> draw_many(const Philox& random, std::uint64_t stream, std::int64_t count) {
    const Philox own = random.with_stream(random.stream() * 8 + stream);
    std::vector<float> numbers(size(count));
    for (std::size_t i = 0; i < numbers.size(); ++i)
        numbers[i] = draw(own, i);
    return numbers;
}

}  // namespace

void fill_statistics(Layer& layer) {
    const Shape& shape = layer.shape;
    const std::int64_t length = layer.length, dim = shape.head_dim;
    const std::int64_t rows = std::ssize(layer.query_positions);
    layer.data.logsumexp.assign(size(shape.query_heads * rows), 0.0f);
    layer.data.column_sums.assign(size(shape.query_heads * length), 0.0f);
    layer.data.outputs.assign(size(shape.query_heads * rows * dim), 0.0f);
    for (std::int64_t head = 0; head < shape.query_heads; ++head) {
        const float* keys = layer.data.keys.data() + head / shape.group() * length * dim;
        const float* values = layer.data.values.data() + head / shape.group() * length * dim;
        std::vector<double> sums(size(length));
        for (std::int64_t row = 0; row < rows; ++row) {
            const float* query = layer.data.queries.data() + (head * rows + row) * dim;
            const Position position = layer.query_positions[size(row)];
            std::vector<double> logits;
            for (Position key = 0; key <= position; ++key)
                logits.push_back(shape.softmax_scale *
                                 reference::dot(query, keys + key * dim, dim));
            const double largest = *std::max_element(logits.begin(), logits.end());
            double total = 0.0;
            for (const double logit : logits)
                total += std::exp(logit - largest);
            layer.data.logsumexp[size(head * rows + row)] =
                static_cast<float>(largest + std::log(total));
            std::vector<double> output(size(dim));
            for (std::size_t key = 0; key < logits.size(); ++key) {
                const double probability = std::exp(logits[key] - largest) / total;
                for (std::size_t channel = 0; channel < output.size(); ++channel)
                    output[channel] +=
                        probability * static_cast<double>(values[key * output.size() + channel]);
            }
            std::transform(output.begin(),
                           output.end(),
                           layer.data.outputs.begin() + (head * rows + row) * dim,
                           [](double x) { return static_cast<float>(x); });
            for (std::size_t key = 0; position < layer.context_len && key < logits.size(); ++key)
                sums[key] += std::exp(logits[key] - largest) / total;
        }
        for (std::int64_t key = 0; key < length; ++key)
            layer.data.column_sums[size(head * length + key)] = static_cast<float>(sums[size(key)]);
    }
}

Layer random_layer(const Shape& shape,
                   std::int32_t number,
                   Position context_len,
                   Position length,
                   const Philox& random) {
    const auto stream = static_cast<std::uint64_t>(number) * 3;
    const std::int64_t entries = std::int64_t{length} * shape.head_dim;
    Layer layer{shape, number, context_len, length, std::vector<Position>(size(length)), {}};
    std::iota(layer.query_positions.begin(), layer.query_positions.end(), 0);
    layer.data.keys = draw_many(random, stream, shape.kv_heads * entries);
    layer.data.values = draw_many(random, stream + 1, shape.kv_heads * entries);
    layer.data.queries = draw_many(random, stream + 2, shape.query_heads * entries);
    layer.rotation = {.rotary_dim = shape.head_dim / 2 * 2, .interleaved = number % 2 == 1};
    for (std::int32_t i = 0; i < layer.rotation.rotary_dim; i += 2)
        layer.rotation.inv_freq.push_back(std::pow(1e4, -static_cast<double>(i) / shape.head_dim));
    const std::int64_t hidden = shape.hidden_size == 0 ? shape.head_dim : shape.hidden_size;
    layer.output_projection =
        draw_many(random, 1000 + stream, hidden * shape.query_heads * shape.head_dim);
    fill_statistics(layer);
    add_repetition(layer, random);
    return layer;
}

void add_repetition(Layer& layer, const Philox& random) {
    const Shape& shape = layer.shape;
    const std::int64_t dim = shape.head_dim;
    const auto stream = 2000 + 4 * static_cast<std::uint64_t>(layer.number);
    layer.replay_chunks.clear();
    std::int32_t rows = 0;
    for (const auto& [begin, end] : {std::pair{0, (layer.context_len + 1) / 2},
                                     {(layer.context_len + 1) / 2, layer.context_len}}) {
        if (begin == end)
            continue;
        layer.replay_chunks.push_back(
            {.begin = begin, .end = end, .first = rows, .count = end - begin + 2});
        rows += end - begin + 2;
    }
    layer.data.replay_queries = draw_many(random, stream, shape.query_heads * rows * dim);
    const std::vector<float> keys = draw_many(random, stream + 1, shape.kv_heads * rows * dim);
    layer.data.replay_hidden_norm = draw_many(random, stream + 2, rows);
    for (float& norm : layer.data.replay_hidden_norm)
        norm = 1.0f + std::abs(norm);
    layer.data.replay_logsumexp.clear();
    for (std::int64_t head = 0; head < shape.query_heads; ++head)
        for (const ReplayChunk& chunk : layer.replay_chunks)
            for (std::int64_t row = chunk.first; row < chunk.first + chunk.count; ++row) {
                const float* query = layer.data.replay_queries.data() + (head * rows + row) * dim;
                const std::int64_t kv_head = head / shape.group();
                double total = 0.0;
                const auto see = [&](const std::vector<float>& tensor, std::int64_t at) {
                    total += std::exp(shape.softmax_scale *
                                      reference::dot(query, tensor.data() + at * dim, dim));
                };
                for (std::int64_t j = 0; j < std::min(4, chunk.begin); ++j)
                    see(layer.data.keys, kv_head * layer.length + j);
                for (std::int64_t j = chunk.begin; j < chunk.end; ++j)
                    see(layer.data.keys, kv_head * layer.length + j);
                for (std::int64_t j = chunk.first; j <= row; ++j)
                    see(keys, kv_head * rows + j);
                layer.data.replay_logsumexp.push_back(static_cast<float>(std::log(total)));
            }
}

ContextViews::ContextViews(const Layer& layer, const Needs& needs, QuerySource source)
    : layer_(layer),
      projects_(needs.output_projection),
      positions_(size(layer.context_len)) {
    const Shape& shape = layer.shape;
    const Eigen::Index held = layer.context_len;
    std::iota(positions_.begin(), positions_.end(), 0);
    const std::int64_t entries = std::int64_t{layer.length} * shape.head_dim;
    for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
        const MatrixView none = kvtape::view(nullptr, 0, 0);
        heads_.push_back({{layer.number, head}, positions_, none, none, {{}, none, {}}, none});
        HeadView& view = heads_.back();
        if (needs.keys)
            new (&view.keys) MatrixView(
                kvtape::view(layer.data.keys.data() + head * entries, held, shape.head_dim));
        if (needs.values)
            new (&view.values) MatrixView(
                kvtape::view(layer.data.values.data() + head * entries, held, shape.head_dim));
        if (needs.column_sums)
            new (&view.column_sums) MatrixView(
                layer.data.column_sums.data() + std::int64_t{head} * shape.group() * layer.length,
                shape.group(),
                held,
                Eigen::OuterStride<>(layer.length));
    }
    observe(needs, source);
    if (needs.statistics)
        describe_queries(needs.statistics_from);
    if (needs.repetition)
        repeat(needs);
}

void ContextViews::repeat(const Needs& needs) {
    const Eigen::Index dim = layer_.shape.head_dim;
    const Eigen::Index rows = layer_.shape.group() * replayed_rows(layer_.replay_chunks);
    for (std::size_t i = 0; i < heads_.size(); ++i) {
        const Eigen::Index first = static_cast<Eigen::Index>(i) * rows;
        new (&heads_[i].repetition) Repetition{
            .chunks = layer_.replay_chunks,
            .queries = kvtape::view(layer_.data.replay_queries.data() + first * dim, rows, dim),
            .logsumexp = std::span(layer_.data.replay_logsumexp).subspan(size(first), size(rows)),
            .hidden_norms = needs.hidden_norms ? std::span(layer_.data.replay_hidden_norm)
                                               : std::span<const float>()};
    }
}

void ContextViews::describe_queries(Position from) {
    const Shape& shape = layer_.shape;
    const Eigen::Index dim = shape.head_dim, group = shape.group();
    for (std::size_t i = 0; i < heads_.size(); ++i)
        distributions_.push_back(reference::query_distribution(layer_.data.queries,
                                                               layer_.query_positions,
                                                               static_cast<Eigen::Index>(i) * group,
                                                               group,
                                                               dim,
                                                               {from, layer_.context_len},
                                                               layer_.rotation));
    for (std::size_t i = 0; i < heads_.size(); ++i)
        new (&heads_[i].statistics) QueryStatistics{
            .mean = kvtape::view(distributions_[i].mean.data(), group, dim),
            .covariance = kvtape::view(distributions_[i].covariance.data(), group * dim, dim)};
}

void ContextViews::observe(const Needs& needs, QuerySource source) {
    const bool agnostic = source == QuerySource::agnostic && !needs.future && !needs.probes;
    if (needs.window == 0 && !needs.future && !needs.probes && (agnostic || !needs.column_sums))
        return;
    const Shape& shape = layer_.shape;
    std::vector<std::int64_t> rows;
    for (std::int64_t row = 0; row < std::ssize(layer_.query_positions); ++row) {
        const Position position = layer_.query_positions[size(row)];
        const bool wanted = agnostic ? position < layer_.context_len &&
                                           position >= layer_.context_len - needs.window
                                     : position >= layer_.context_len;
        if (!wanted)
            continue;
        rows.push_back(row);
        observed_.push_back(position);
    }
    const std::int64_t all = std::ssize(layer_.query_positions), dim = shape.head_dim;
    for (std::size_t i = 0; i < heads_.size(); ++i) {
        std::vector<float> queries, normalisers, outputs;
        for (std::int64_t g = 0; g < shape.group(); ++g)
            for (const std::int64_t row : rows) {
                const std::int64_t at =
                    (static_cast<std::int64_t>(i) * shape.group() + g) * all + row;
                const float* query = layer_.data.queries.data() + at * dim;
                queries.insert(queries.end(), query, query + dim);
                const float* output = layer_.data.outputs.data() + at * dim;
                if (needs.outputs)
                    outputs.insert(outputs.end(), output, output + dim);
                if (!agnostic && !needs.probes)
                    normalisers.push_back(layer_.data.logsumexp[size(at)]);
            }
        queries_.push_back(std::move(queries));
        logsumexp_.push_back(std::move(normalisers));
        outputs_.push_back(std::move(outputs));
        Observation& observed = heads_[i].observed;
        observed.positions = observed_;
        observed.logsumexp = logsumexp_.back();
        new (&observed.queries)
            MatrixView(kvtape::view(queries_.back().data(), shape.group() * std::ssize(rows), dim));
        if (needs.probes)
            new (&observed.keys) MatrixView(kvtape::view(
                layer_.data.keys.data() +
                    (static_cast<std::int64_t>(i) * layer_.length + layer_.context_len) * dim,
                std::ssize(rows),
                dim));
        if (needs.outputs)
            new (&observed.outputs) MatrixView(
                kvtape::view(outputs_.back().data(), shape.group() * std::ssize(rows), dim));
    }
}

LayerView ContextViews::view() const {
    const Eigen::Index width = Eigen::Index{layer_.shape.query_heads} * layer_.shape.head_dim;
    return {.layer = layer_.number,
            .block = {0, layer_.context_len, false},
            .heads = heads_,
            .output_projection = projects_
                                     ? kvtape::view(layer_.output_projection.data(),
                                                    std::ssize(layer_.output_projection) / width,
                                                    width)
                                     : no_rows()};
}

namespace {

/// A session together with what it was shown, which a policy that merges reads again.
class SessionWithViews final : public Session {
  public:
    explicit SessionWithViews(std::unique_ptr<Session> session) : session_(std::move(session)) {}

    void observe(std::unique_ptr<ContextViews> views) {
        observe(views->view());
        views_.push_back(std::move(views));
    }
    void observe(const LayerView& layer) override { session_->observe(layer); }
    Decision decide(const Block& block, const Limit& limit) const override {
        return session_->decide(block, limit);
    }
    void settle(const Decision& decision) override { session_->settle(decision); }
    std::vector<float> scores(HeadId head, const Limit& limit) const override {
        return session_->scores(head, limit);
    }

  private:
    std::unique_ptr<Session> session_;
    std::vector<std::unique_ptr<ContextViews>> views_;
};

}  // namespace

std::unique_ptr<Session> observed_session(const Policy& policy,
                                          std::span<const Layer> layers,
                                          const Run& run) {
    SessionContext context{.shape = layers[0].shape,
                           .rotation = layers[0].rotation,
                           .context_len = layers[0].context_len,
                           .prompt_len = layers[0].length,
                           .random = run.random,
                           .threads = run.threads};
    context.shape.layers = static_cast<std::int32_t>(layers.size());
    auto session = std::make_unique<SessionWithViews>(policy.start(context));
    for (const Layer& layer : layers)
        session->observe(std::make_unique<ContextViews>(layer, policy.needs(), run.source));
    return session;
}

Decision decide(const Policy& policy,
                std::span<const Layer> layers,
                const Limit& limit,
                const Run& run) {
    return observed_session(policy, layers, run)->decide({0, layers[0].context_len, false}, limit);
}

Limit limit_of(std::string_view budget, Position context_len, const Shape& shape) {
    const Budget parsed = Budget::parse(budget);
    return {parsed.tokens_of(context_len, shape), parsed.ratio()};
}

}  // namespace kvtape::testing
