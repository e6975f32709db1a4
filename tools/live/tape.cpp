#include "tools/live/tape.hpp"

#include "sim/probes.hpp"

#include <algorithm>

namespace kvtape::live {
namespace {

/// `count` of every `stride` rows of `width`, from row `first` on.
std::vector<float> head_rows(const std::vector<float>& tensor,
                             std::size_t stride,
                             std::size_t count,
                             std::size_t width,
                             std::size_t first = 0) {
    std::vector<float> rows;
    for (std::size_t begin = first * width; begin < tensor.size(); begin += stride * width) {
        const auto from = tensor.begin() + static_cast<std::ptrdiff_t>(begin);
        rows.insert(rows.end(), from, from + static_cast<std::ptrdiff_t>(count * width));
    }
    return rows;
}

/// Puts back what head_rows took.
void put_head_rows(const std::vector<float>& rows,
                   std::size_t stride,
                   std::size_t count,
                   std::size_t width,
                   std::size_t first,
                   std::vector<float>& tensor) {
    const auto chunk = static_cast<std::ptrdiff_t>(count * width);
    auto from = rows.begin();
    for (std::size_t begin = first * width; from != rows.end(); begin += stride * width) {
        std::copy_n(from, chunk, tensor.begin() + static_cast<std::ptrdiff_t>(begin));
        from += chunk;
    }
}

/// Calls `visit(array, stride, count, width, first)` with every array of LayerData that has a row
/// for each token, of `tokens`, or for each query, of `queries`.
template <typename Visit>
void visit_rows(const Shape& shape,
                RowRange tokens,
                std::size_t all_tokens,
                RowRange queries,
                std::size_t all_queries,
                const Visit& visit) {
    const auto dim = static_cast<std::size_t>(shape.head_dim);
    const auto token = [&](std::vector<float> LayerData::*array) {
        visit(array,
              all_tokens,
              static_cast<std::size_t>(tokens.count),
              dim,
              static_cast<std::size_t>(tokens.first));
    };
    const auto query = [&](std::vector<float> LayerData::*array, std::size_t width) {
        visit(array,
              all_queries,
              static_cast<std::size_t>(queries.count),
              width,
              static_cast<std::size_t>(queries.first));
    };
    token(&LayerData::keys);
    token(&LayerData::values);
    query(&LayerData::queries, dim);
    query(&LayerData::outputs, dim);
    query(&LayerData::logsumexp, 1);
}

}  // namespace

Tape::Tape(const Shape& shape, SequenceInfo sequence)
    : shape_(shape),
      sequence_(std::move(sequence)),
      layers_(static_cast<std::size_t>(shape.layers)) {
    const auto tokens = static_cast<std::size_t>(sequence_.length());
    const std::size_t queries = sequence_.query_positions.size();
    const auto dim = static_cast<std::size_t>(shape.head_dim);
    const auto kv_heads = static_cast<std::size_t>(shape.kv_heads);
    const auto query_heads = static_cast<std::size_t>(shape.query_heads);
    for (LayerData& layer : layers_) {
        layer.keys.resize(kv_heads * tokens * dim);
        layer.values.resize(kv_heads * tokens * dim);
        layer.queries.resize(query_heads * queries * dim);
        layer.outputs.resize(query_heads * queries * dim);
        layer.logsumexp.resize(query_heads * queries);
        layer.column_sums.resize(query_heads * tokens);
    }
}

TapRequest Tape::wants(std::int32_t, const Block& block) {
    const std::vector<Position>& all = sequence_.query_positions;
    const auto begin = std::lower_bound(all.begin(), all.end(), block.begin);
    wanted_.assign(begin, std::lower_bound(begin, all.end(), block.end));
    return {.positions = wanted_};
}

void Tape::take(const TapRows& rows) {
    LayerData& layer = layers_[static_cast<std::size_t>(rows.layer)];
    const std::vector<Position>& all = sequence_.query_positions;
    const Eigen::Index recorded = std::ssize(all), count = std::ssize(rows.positions);
    for (Eigen::Index i = 0; i < count; ++i) {
        const Position position = rows.positions[static_cast<std::size_t>(i)];
        const Eigen::Index row = std::lower_bound(all.begin(), all.end(), position) - all.begin();
        for (Eigen::Index head = 0; head < shape_.query_heads; ++head) {
            const Eigen::Index to = head * recorded + row, from = head * count + i;
            const Eigen::Index dim = shape_.head_dim;
            std::copy_n(rows.queries.row(from).data(), dim, layer.queries.begin() + to * dim);
            std::copy_n(rows.outputs.row(from).data(), dim, layer.outputs.begin() + to * dim);
            layer.logsumexp[static_cast<std::size_t>(to)] = rows.logsumexp(head, i);
        }
    }
}

void Tape::collect(const model::KvCache& cache, Position begin, Position end) {
    for (std::int32_t index = 0; index < shape_.layers; ++index)
        collect(cache, index, begin, end);
}

void Tape::collect(const model::KvCache& cache, std::int32_t index, Position begin, Position end) {
    const Eigen::Index dim = shape_.head_dim, tokens = sequence_.length();
    LayerData& layer = layers_[static_cast<std::size_t>(index)];
    for (std::int32_t head = 0; head < shape_.kv_heads; ++head) {
        const HeadId id{index, head};
        const Position first = cache.held(id) - (end - begin);
        const std::vector<float> keys = cache.keys(id, first), values = cache.values(id, first);
        const Eigen::Index to = (head * tokens + begin) * dim;
        std::copy(keys.begin(), keys.end(), layer.keys.begin() + to);
        std::copy(values.begin(), values.end(), layer.values.begin() + to);
    }
}

template <typename Visit>
void Tape::visit(Position begin, Position end, const Visit& visit) const {
    visit_rows(shape_,
               {begin, end - begin},
               sequence_.tokens.size(),
               rows_between(sequence_, begin, end),
               sequence_.query_positions.size(),
               visit);
}

void Tape::note_probes(Position moment, Position begin, Position end) {
    Probes probes{.begin = begin, .end = end, .layers = std::vector<LayerData>(layers_.size())};
    for (std::size_t layer = 0; layer < layers_.size(); ++layer)
        visit(begin, end, [&](auto array, auto stride, auto count, auto width, auto first) {
            probes.layers[layer].*array =
                head_rows(layers_[layer].*array, stride, count, width, first);
        });
    probes_[moment] = std::move(probes);
}

void Tape::show_probes(std::int32_t layer, Position moment, LayerData& data) const {
    if (probes_.empty())
        return;
    const auto index = static_cast<std::size_t>(layer);
    data = layers_[index];
    const auto noted = probes_.find(moment);
    if (noted == probes_.end())
        return;
    const Probes& probes = noted->second;
    visit(
        probes.begin, probes.end, [&](auto array, auto stride, auto count, auto width, auto first) {
            put_head_rows(probes.layers[index].*array, stride, count, width, first, data.*array);
        });
}

void Tape::collect_column_sums(const model::KvCache& cache) {
    const Eigen::Index tokens = sequence_.length(), seen = cache.length();
    for (std::int32_t index = 0; index < shape_.layers; ++index) {
        const std::vector<float> sums = cache.column_sums(index);
        LayerData& layer = layers_[static_cast<std::size_t>(index)];
        for (Eigen::Index head = 0; head < shape_.query_heads; ++head)
            std::copy_n(sums.begin() + head * seen,
                        std::min<Eigen::Index>(seen, tokens),
                        layer.column_sums.begin() + head * tokens);
    }
}

void Tape::collect(SecondPass& pass) {
    sequence_.replay_chunks = pass.chunks();
    for (std::int32_t index = 0; index < shape_.layers; ++index)
        pass.move_into(index, layers_[static_cast<std::size_t>(index)]);
}

Tape Tape::first(Position tokens) const {
    Tape cut(shape_, {});
    cut.sequence_ = sequence_;
    cut.probes_ = probes_;
    const auto all = static_cast<std::size_t>(sequence_.length());
    const auto kept = static_cast<std::size_t>(tokens);
    cut.sequence_.tokens.resize(kept);
    std::vector<Position>& queries = cut.sequence_.query_positions;
    const std::size_t recorded = queries.size();
    queries.erase(std::lower_bound(queries.begin(), queries.end(), tokens), queries.end());
    const auto dim = static_cast<std::size_t>(shape_.head_dim);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const LayerData& from = layers_[i];
        LayerData& to = cut.layers_[i];
        to.keys = head_rows(from.keys, all, kept, dim);
        to.values = head_rows(from.values, all, kept, dim);
        to.queries = head_rows(from.queries, recorded, queries.size(), dim);
        to.outputs = head_rows(from.outputs, recorded, queries.size(), dim);
        to.logsumexp = head_rows(from.logsumexp, recorded, queries.size(), 1);
        to.column_sums = head_rows(from.column_sums, all, kept, 1);
    }
    return cut;
}

}  // namespace kvtape::live
