#include "tests/support/synthetic_trace.hpp"

#include "core/philox.hpp"
#include "tests/support/reference.hpp"

#include <cmath>

namespace kvtape {
namespace {

std::vector<float> random_numbers(std::size_t count, const Philox& random) {
    std::vector<float> numbers(count);
    for (std::size_t i = 0; i < count; ++i)
        numbers[i] = static_cast<float>(4.0 * random.uniform(i) - 2.0);
    return numbers;
}

SequenceInfo make_sequence(const SyntheticSize& size, std::int32_t index) {
    SequenceInfo info;
    info.name = std::to_string(10000 + index).substr(1);
    info.context_len = size.context;
    info.prompt_len = size.context + size.question;
    info.task = index % 2 == 0 ? "even" : "odd";
    const Position tokens = info.prompt_len + size.generated;
    info.tokens.assign(static_cast<std::size_t>(tokens), 3);
    info.text.assign(static_cast<std::size_t>(tokens), 'x');
    for (Position t = 0; t <= tokens; ++t)
        info.text_offsets.push_back(t);
    info.spans = {{SpanKind::needle, size.needle_begin, size.needle_end, 0}};
    for (Position t = std::max(0, size.context - size.window); t < tokens; ++t)
        info.query_positions.push_back(t);
    return info;
}

/// Queries of all positions, for one query head: [T, head_dim].
class Attention {
  public:
    Attention(const Shape& shape,
              const LayerData& data,
              const std::vector<float>& queries,
              Position tokens)
        : shape_(shape),
          data_(data),
          queries_(queries),
          tokens_(tokens) {}

    /// Logits of one query over the keys it sees.
    std::vector<double> logits(std::int32_t head, Position position) const {
        std::vector<double> logits;
        const float* query = queries_.data() + (head * tokens_ + position) * shape_.head_dim;
        const float* keys = data_.keys.data() + head / shape_.group() * tokens_ * shape_.head_dim;
        for (Position j = 0; j <= position; ++j)
            logits.push_back(shape_.softmax_scale *
                             reference::dot(query, keys + j * shape_.head_dim, shape_.head_dim));
        return logits;
    }

  private:
    const Shape& shape_;
    const LayerData& data_;
    const std::vector<float>& queries_;
    Position tokens_;
};

LayerData make_layer(const Shape& shape, const SequenceInfo& info, const Philox& random) {
    const auto count = [](auto... factors) { return (static_cast<std::size_t>(factors) * ...); };
    const Position tokens = info.length();
    LayerData data;
    data.keys = random_numbers(count(shape.kv_heads, tokens, shape.head_dim), random);
    data.values = random_numbers(count(shape.kv_heads, tokens, shape.head_dim),
                                 random.with_stream(random.stream() + 1));
    const std::vector<float> queries = random_numbers(
        count(shape.query_heads, tokens, shape.head_dim), random.with_stream(random.stream() + 2));
    const Attention attention(shape, data, queries, tokens);
    data.column_sums.assign(count(shape.query_heads, tokens), 0.0f);
    for (std::int32_t head = 0; head < shape.query_heads; ++head) {
        std::vector<double> sums(count(tokens));
        for (Position i = 0; i < info.context_len; ++i) {
            const std::vector<double> p = reference::softmax(attention.logits(head, i));
            for (std::size_t j = 0; j < p.size(); ++j)
                sums[j] += p[j];
        }
        for (std::size_t j = 0; j < sums.size(); ++j)
            data.column_sums[count(head, tokens) + j] = static_cast<float>(sums[j]);
        for (const Position position : info.query_positions) {
            const float* row = queries.data() + (head * tokens + position) * shape.head_dim;
            data.queries.insert(data.queries.end(), row, row + shape.head_dim);
            const std::vector<double> logits = attention.logits(head, position);
            const std::vector<double> p = reference::softmax(logits);
            data.logsumexp.push_back(static_cast<float>(logits[0] - std::log(p[0])));
            for (std::int32_t c = 0; c < shape.head_dim; ++c) {
                double output = 0.0;
                const float* values =
                    data.values.data() + head / shape.group() * tokens * shape.head_dim + c;
                for (std::size_t j = 0; j < p.size(); ++j)
                    output += p[j] * static_cast<double>(values[j * count(shape.head_dim)]);
                data.outputs.push_back(static_cast<float>(output));
            }
        }
    }
    return data;
}

void take(bool wanted, const std::vector<float>& from, std::vector<float>& to) {
    to = wanted ? from : std::vector<float>();
}

}  // namespace

SyntheticTrace::SyntheticTrace(const SyntheticSize& size, std::uint64_t seed) {
    info_.shape = size.shape;
    info_.fingerprint = std::string(32, '5');
    info_.rope = size.rope;
    info_.sliding_window.resize(static_cast<std::size_t>(size.shape.layers));
    for (std::int32_t s = 0; s < size.sequences; ++s) {
        infos_.push_back(make_sequence(size, s));
        for (std::int32_t layer = 0; layer < size.shape.layers; ++layer)
            layers_.push_back(
                make_layer(size.shape,
                           infos_.back(),
                           Philox(seed, static_cast<std::uint64_t>(layers_.size()) * 8)));
    }
}

const LayerData& SyntheticTrace::layer(std::int32_t sequence, std::int32_t layer) const {
    return layers_[static_cast<std::size_t>(sequence * info_.shape.layers + layer)];
}

void SyntheticTrace::load(std::int32_t sequence,
                          std::int32_t layer,
                          const LayerParts& parts,
                          LayerData& out) const {
    ++loads_;
    const LayerData& all = this->layer(sequence, layer);
    take(parts.keys, all.keys, out.keys);
    take(parts.values, all.values, out.values);
    take(parts.queries, all.queries, out.queries);
    take(parts.outputs, all.outputs, out.outputs);
    take(parts.logsumexp, all.logsumexp, out.logsumexp);
    take(parts.column_sums, all.column_sums, out.column_sums);
}

}  // namespace kvtape
