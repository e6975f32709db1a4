#include "sim/observe.hpp"

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

}  // namespace

RowRange voting_rows(const Needs& needs, QuerySource source, const SequenceInfo& sequence) {
    const bool votes = needs.window > 0 || needs.column_sums || needs.future;
    if (!votes)
        return {};
    switch (source) {
        case QuerySource::agnostic:
            return rows_between(
                sequence, std::max(0, sequence.context_len - needs.window), sequence.context_len);
        case QuerySource::question:
            return rows_between(sequence, sequence.context_len, sequence.prompt_len);
        case QuerySource::oracle:
            break;
    }
    return rows_between(sequence, sequence.context_len, sequence.length());
}

LayerParts parts_for(const Needs& needs, QuerySource source) {
    const bool votes = needs.window > 0 || needs.column_sums || needs.future;
    const bool rows = votes && (needs.window > 0 || source != QuerySource::agnostic);
    return {.keys = needs.keys || (needs.column_sums && rows),
            .values = needs.values,
            .queries = rows,
            .logsumexp = rows && source != QuerySource::agnostic,
            .column_sums = needs.column_sums};
}

ContextView::ContextView(const Shape& shape,
                         const SequenceInfo& sequence,
                         const LayerData& data,
                         std::int32_t layer,
                         const Needs& needs,
                         QuerySource source)
    : layer_(layer),
      block_{0, sequence.context_len, false} {
    const Index tokens = sequence.length(), context = sequence.context_len;
    const Index dim = shape.head_dim, group = shape.group();
    const Index recorded = std::ssize(sequence.query_positions);
    const LayerParts parts = parts_for(needs, source);
    const RowRange rows = parts.queries ? voting_rows(needs, source, sequence) : RowRange{};
    positions_.resize(static_cast<std::size_t>(context));
    std::iota(positions_.begin(), positions_.end(), 0);
    const auto first_voter = sequence.query_positions.begin() + rows.first;
    voters_.assign(first_voter, first_voter + rows.count);

    const auto copied =
        [&](bool wanted, const std::vector<float>& tensor, Index head, Index width) {
            copies_.push_back(wanted
                                  ? group_rows(tensor, head * group, group, recorded, rows, width)
                                  : std::vector<float>());
            return std::span<const float>(copies_.back());
        };
    for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
        const auto context_rows = [&](bool wanted, const std::vector<float>& tensor) {
            return wanted ? kvtape::view(tensor.data() + head * tokens * dim, context, dim)
                          : kvtape::view(nullptr, 0, dim);
        };
        const std::span<const float> queries = copied(parts.queries, data.queries, head, dim);
        heads_.push_back(
            {.id = {layer, head},
             .positions = positions_,
             .keys = context_rows(parts.keys, data.keys),
             .values = context_rows(parts.values, data.values),
             .observed = {.positions = voters_,
                          .queries = kvtape::view(queries.data(), std::ssize(queries) / dim, dim),
                          .logsumexp = copied(parts.logsumexp, data.logsumexp, head, 1)},
             .column_sums = MatrixView(data.column_sums.data() + head * group * tokens,
                                       parts.column_sums ? group : 0,
                                       context,
                                       Eigen::OuterStride<>(tokens))});
    }
}

}  // namespace kvtape
