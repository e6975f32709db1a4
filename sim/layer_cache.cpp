#include "sim/layer_cache.hpp"

#include "core/error.hpp"
#include "policies/parts/attention.hpp"
#include "sim/probes.hpp"
#include "sim/query_statistics.hpp"

#include <algorithm>
#include <numeric>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// Rows `rows` of every query head of a group, one head after the other.
std::vector<float> group_rows(const std::vector<float>& tensor,
                              Index first_head,
                              Index group,
                              Index recorded,
                              RowRange rows,
                              Index width) {
    std::vector<float> copy;
    copy.reserve(static_cast<std::size_t>(group * rows.count * width));
    for (Index head = first_head; head < first_head + group; ++head) {
        const auto begin = tensor.begin() + (head * recorded + rows.first) * width;
        copy.insert(copy.end(), begin, begin + rows.count * width);
    }
    return copy;
}

/// Moves the rows of `keep` among `held` to the front; both ascend.
void compact(std::vector<float>& rows,
             const std::vector<Position>& held,
             const std::vector<Position>& keep,
             Index dim) {
    if (rows.empty())
        return;
    auto to = rows.begin();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < held.size() && kept < keep.size(); ++i) {
        if (held[i] != keep[kept])
            continue;
        const auto from = rows.begin() + static_cast<Index>(i) * dim;
        if (from != to)
            std::copy(from, from + dim, to);
        to += dim;
        ++kept;
    }
    rows.erase(to, rows.end());
}

/// Rows `positions` of a head, whose first row is `rows`.
std::vector<float> gathered(const float* rows, const std::vector<Position>& positions, Index dim) {
    std::vector<float> copy(positions.size() * static_cast<std::size_t>(dim));
    auto to = copy.begin();
    for (const Position position : positions)
        to = std::copy_n(rows + position * dim, dim, to);
    return copy;
}

}  // namespace

LayerParts parts_for(const Demand& demand) {
    const Needs& needs = demand.needs;
    const bool rows =
        needs.window > 0 || needs.probes || needs.future ||
        (needs.column_sums && (demand.attends || demand.source != QuerySource::agnostic));
    return {.keys = needs.keys || needs.probes || (needs.column_sums && rows),
            .values = needs.values,
            .queries = rows || demand.turned.has_value(),
            .outputs = rows && needs.outputs,
            .logsumexp = rows && (needs.dense_rows ||
                                  (demand.source != QuerySource::agnostic && !needs.probes)),
            .column_sums = needs.column_sums,
            .query_mean = needs.statistics && !demand.turned,
            .query_covariance = needs.statistics && !demand.turned,
            .replay_queries = needs.repetition,
            .replay_logsumexp = needs.repetition,
            .replay_hidden_norm = needs.hidden_norms};
}

LayerParts operator|(const LayerParts& a, const LayerParts& b) {
    return {.keys = a.keys || b.keys,
            .values = a.values || b.values,
            .queries = a.queries || b.queries,
            .outputs = a.outputs || b.outputs,
            .logsumexp = a.logsumexp || b.logsumexp,
            .column_sums = a.column_sums || b.column_sums,
            .query_mean = a.query_mean || b.query_mean,
            .query_covariance = a.query_covariance || b.query_covariance,
            .replay_queries = a.replay_queries || b.replay_queries,
            .replay_logsumexp = a.replay_logsumexp || b.replay_logsumexp,
            .replay_hidden_norm = a.replay_hidden_norm || b.replay_hidden_norm};
}

LayerCache::LayerCache(const Shape& shape,
                       const SequenceInfo& sequence,
                       const Demand& demand,
                       std::int32_t layer)
    : shape_(shape),
      sequence_(sequence),
      demand_(demand),
      layer_(layer),
      held_(static_cast<std::size_t>(shape.kv_heads)) {}

MatrixView LayerCache::rows(const Held& held,
                            const std::vector<float>& own,
                            const std::vector<float>& tensor,
                            std::int32_t head) const {
    const float* first =
        held.copied ? own.data() : tensor.data() + head * sequence_.length() * dim();
    return kvtape::view(first, std::ssize(held.positions), dim());
}

void LayerCache::append(Held& held, const Block& block, std::int32_t head) const {
    const auto take = [&](std::vector<float>& own, const std::vector<float>& tensor, bool wanted) {
        if (!wanted)
            return;
        const float* first = tensor.data() + head * sequence_.length() * dim();
        if (held.released)
            own = gathered(first, held.positions, dim());
        own.insert(own.end(), first + block.begin * dim(), first + block.end * dim());
    };
    if (held.copied) {
        const LayerParts parts = parts_for(demand_);
        take(held.keys, data_->keys, parts.keys);
        take(held.values, data_->values, parts.values);
    }
    held.released = false;
    const std::size_t before = held.positions.size();
    held.positions.resize(before + static_cast<std::size_t>(block.end - block.begin));
    std::iota(held.positions.begin() + static_cast<std::ptrdiff_t>(before),
              held.positions.end(),
              block.begin);
}

Observation LayerCache::observation(std::int32_t head, Position begin, Position end, With with) {
    const RowRange range = rows_between(sequence_, begin, end);
    const Index recorded = std::ssize(sequence_.query_positions), group = shape_.group();
    const auto rows = [&](const std::vector<float>& tensor, bool wanted, Index width) {
        copies_.push_back(wanted ? group_rows(tensor, head * group, group, recorded, range, width)
                                 : std::vector<float>());
        return std::span<const float>(copies_.back());
    };
    const auto first = sequence_.query_positions.begin() + range.first;
    voters_.emplace_back(first, first + range.count);
    const auto keys = [&] {
        return kvtape::view(
            data_->keys.data() + (head * sequence_.length() + begin) * dim(), end - begin, dim());
    };
    const auto outputs = [&] {
        const bool wanted = demand_.needs.outputs;
        return wanted ? kvtape::view(
                            rows(data_->outputs, true, dim()).data(), range.count * group, dim())
                      : no_rows();
    };
    return {.positions = voters_.back(),
            .queries =
                kvtape::view(rows(data_->queries, true, dim()).data(), range.count * group, dim()),
            .logsumexp = rows(data_->logsumexp, with == With::normalisers, 1),
            .keys = with == With::keys ? keys() : no_rows(),
            .outputs = outputs()};
}

Observation LayerCache::voters(std::int32_t head) {
    const Needs& needs = demand_.needs;
    const Position context = sequence_.context_len, prompt = sequence_.prompt_len;
    if (needs.probes)
        return observation(head, context, prompt, With::keys);
    if (needs.window == 0 && !needs.column_sums && !needs.future)
        return {};
    switch (demand_.source) {
        case QuerySource::agnostic:
            if (needs.window == 0)
                return {};
            return observation(
                head, std::max(0, block_.end - needs.window), block_.end, With::nothing);
        case QuerySource::question:
            return observation(head, context, prompt, With::normalisers);
        case QuerySource::oracle:
            break;
    }
    return observation(head, block_.end, sequence_.length(), With::normalisers);
}

Matrix LayerCache::column_sums(const Held& held, std::int32_t head) {
    const Index group = shape_.group(), before = held.column_sums.cols();
    const Index now = std::ssize(held.positions), tokens = sequence_.length();
    Matrix sums = Matrix::Zero(group, now);
    Position unseen = block_.begin;
    if (block_.begin == 0 && block_.end >= sequence_.context_len) {
        sums = MatrixView(data_->column_sums.data() + head * group * tokens,
                          group,
                          now,
                          Eigen::OuterStride<>(tokens));
        unseen = sequence_.context_len;
    } else {
        sums.leftCols(before) = held.column_sums;
    }
    if (unseen < block_.end) {
        const With with = demand_.needs.dense_rows ? With::normalisers : With::nothing;
        const HeadView attending{.id = {layer_, head},
                                 .positions = held.positions,
                                 .keys = rows(held, held.keys, data_->keys, head),
                                 .observed = observation(head, unseen, block_.end, with)};
        sums += observed_attention(attending, shape_);
    }
    return sums;
}

QueryStatistics LayerCache::statistics(std::int32_t head) {
    const Index group = shape_.group(), first = head * group * dim();
    if (demand_.turned) {
        const QueryRows rows{data_->queries, head * group, group};
        auto [mean, covariance] = query_statistics(
            shape_, sequence_, rows, demand_.needs.statistics_from, *demand_.turned);
        const float* means = copies_.emplace_back(std::move(mean)).data();
        const float* covariances = copies_.emplace_back(std::move(covariance)).data();
        return {.mean = kvtape::view(means, group, dim()),
                .covariance = kvtape::view(covariances, group * dim(), dim())};
    }
    return {.mean = kvtape::view(data_->query_mean.data() + first, group, dim()),
            .covariance =
                kvtape::view(data_->query_covariance.data() + first * dim(), group * dim(), dim())};
}

Repetition LayerCache::repetition(std::int32_t head) const {
    const Index rows = shape_.group() * sequence_.replayed(), first = head * rows;
    return {
        .chunks = sequence_.replay_chunks,
        .queries = kvtape::view(data_->replay_queries.data() + first * dim(), rows, dim()),
        .logsumexp = std::span(data_->replay_logsumexp)
                         .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)),
        .hidden_norms = data_->replay_hidden_norm};
}

void LayerCache::enter(const Block& block,
                       const LayerData& data,
                       const std::vector<float>& output_projection) {
    block_ = block;
    data_ = &data;
    output_projection_ = &output_projection;
    copies_.clear();
    voters_.clear();
    heads_.clear();
    const LayerParts parts = parts_for(demand_);
    for (std::int32_t head = 0; head < shape_.kv_heads; ++head) {
        Held& held = held_[static_cast<std::size_t>(head)];
        append(held, block, head);
        if (parts.column_sums)
            held.column_sums = column_sums(held, head);
        heads_.push_back(
            {.id = {layer_, head},
             .positions = held.positions,
             .keys = parts.keys ? rows(held, held.keys, data.keys, head) : no_rows(),
             .values = parts.values ? rows(held, held.values, data.values, head) : no_rows(),
             .observed = voters(head),
             .column_sums = parts.column_sums ? kvtape::view(held.column_sums) : no_rows(),
             .statistics = demand_.needs.statistics ? statistics(head) : QueryStatistics{},
             .repetition = parts.replay_queries ? repetition(head) : Repetition{}});
    }
}

LayerView LayerCache::view() const {
    const Index width = Index{shape_.query_heads} * dim();
    const Index hidden = std::ssize(*output_projection_) / width;
    return {.layer = layer_,
            .block = block_,
            .heads = heads_,
            .output_projection = kvtape::view(output_projection_->data(), hidden, width)};
}

void LayerCache::drop(Held& held, const std::vector<Position>& keep, std::int32_t head) const {
    const LayerParts parts = parts_for(demand_);
    const Index dim = this->dim();
    if (held.released) {
        held.copied = true;
    } else if (held.copied) {
        compact(held.keys, held.positions, keep, dim);
        compact(held.values, held.positions, keep, dim);
    } else {
        const Index first = head * sequence_.length() * dim;
        if (parts.keys)
            held.keys = gathered(data_->keys.data() + first, keep, dim);
        if (parts.values)
            held.values = gathered(data_->values.data() + first, keep, dim);
        held.copied = true;
    }
    if (parts.column_sums) {
        Matrix sums(held.column_sums.rows(), std::ssize(keep));
        for (std::size_t i = 0, kept = 0; kept < keep.size(); ++i)
            if (held.positions[i] == keep[kept])
                sums.col(static_cast<Index>(kept++)) = held.column_sums.col(static_cast<Index>(i));
        held.column_sums = std::move(sums);
    }
    held.positions = keep;
}

void LayerCache::apply(const Decision& decision) {
    heads_.clear();
    for (std::int32_t head = 0; head < shape_.kv_heads; ++head) {
        Held& held = held_[static_cast<std::size_t>(head)];
        const HeadId id{layer_, head};
        const bool merged =
            decision.merging() == Merging::yes && !decision.merges(id).changed.empty();
        if (merged || decision[id].size() != held.positions.size())
            drop(held, decision[id], head);
        if (merged)
            replace(held, decision.merges(id));
    }
}

void LayerCache::replace(Held& held, const Merges& merges) const {
    const auto put = [&](std::vector<float>& own, const std::vector<float>& rows) {
        if (own.empty())
            return;
        auto from = rows.begin();
        for (const Position position : merges.changed) {
            const auto at =
                std::lower_bound(held.positions.begin(), held.positions.end(), position);
            std::copy_n(from, dim(), own.begin() + (at - held.positions.begin()) * dim());
            from += dim();
        }
    };
    put(held.keys, merges.keys);
    put(held.values, merges.values);
}

void LayerCache::release() {
    heads_.clear();
    for (Held& held : held_) {
        held.released = true;
        held.keys = {};
        held.values = {};
    }
}

}  // namespace kvtape
