#include "policies/parts/laser_scores.hpp"

#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/attention.hpp"
#include "policies/parts/finite.hpp"

#include <algorithm>
#include <iterator>

namespace kvtape {
namespace {

using Entries = LaserScores::Entries;

/// The part of a head that rows are softmaxes over.
HeadView attended(const HeadView& head, const LaserRows& rows) {
    HeadView part{.id = head.id,
                  .positions = head.positions.subspan(static_cast<std::size_t>(rows.first)),
                  .keys = {head.keys.data() + rows.first * head.keys.outerStride(),
                           head.keys.rows() - rows.first,
                           head.keys.cols(),
                           Eigen::OuterStride<>(head.keys.outerStride())},
                  .observed = {.positions = head.observed.positions,
                               .queries = head.observed.queries,
                               .keys = rows.question ? head.observed.keys : no_rows()}};
    return part;
}

/// The candidates at `places`.
Entries chosen(const Entries& candidates, const std::vector<Position>& places) {
    Entries entries;
    for (const Position place : places)
        entries.push_back(candidates[static_cast<std::size_t>(place)]);
    return entries;
}

}  // namespace

LaserScores::LaserScores(const LaserSelection& selection, const SessionContext& context)
    : selection_(selection),
      shape_(context.shape),
      threads_(context.threads),
      projection_(gaussian_matrix(context.shape.head_dim,
                                  selection.lsh.bits * selection.lsh.tables,
                                  context.random.with_stream(0))) {}

void LaserScores::observe(const LayerView& layer, const LaserRows& rows) {
    if (selection_.selector != LaserSelector::lsh)
        add_attention(layer, rows);
    if (selection_.selector != LaserSelector::exact)
        take_vectors(layer);
}

void LaserScores::add_attention(const LayerView& layer, const LaserRows& rows) {
    std::vector<Matrix> sums(layer.heads.size());
    parallel_for(sums.size(), threads_, [&](std::size_t i) {
        const HeadView& head = layer.heads[i];
        sums[i] = observed_attention(attended(head, rows), shape_);
        check_scores(head, {sums[i].data(), static_cast<std::size_t>(sums[i].size())});
    });
    const auto first = static_cast<std::size_t>(rows.first);
    for (const Matrix& of_head : sums)
        for (Eigen::Index row = 0; row < of_head.rows(); ++row)
            for (std::size_t entry = first; entry < attention_.size(); ++entry)
                attention_[entry] +=
                    static_cast<double>(of_head(row, static_cast<Eigen::Index>(entry - first)));
}

/// Means of the keys over the KV heads, of what is held and of the question.
void LaserScores::take_vectors(const LayerView& layer) {
    const auto mean = [&](const auto& keys_of) {
        Matrix sum = keys_of(layer.heads.front());
        for (const HeadView& head : layer.heads.subspan(1))
            sum += keys_of(head);
        sum /= static_cast<float>(layer.heads.size());
        return sum;
    };
    vectors_ = mean([](const HeadView& head) { return head.keys; });
    question_ = mean([](const HeadView& head) { return head.observed.keys; });
    if (vectors_.allFinite() && question_.allFinite())
        return;
    for (const HeadView& head : layer.heads)
        if (!head.keys.allFinite() || !head.observed.keys.allFinite())
            refuse_not_finite(head);
    refuse_not_finite(layer.heads.front());
}

Entries LaserScores::pick(const Entries& candidates, Position count) const {
    switch (selection_.selector) {
        case LaserSelector::exact:
            return most_attended(candidates, count);
        case LaserSelector::lsh:
            return most_alike(candidates, count);
        case LaserSelector::hybrid:
            break;
    }
    const Entries first =
        most_attended(candidates, static_cast<Position>(selection_.alpha.floor_of(count)));
    Entries rest, picked;
    std::set_difference(
        candidates.begin(), candidates.end(), first.begin(), first.end(), std::back_inserter(rest));
    const Entries alike = most_alike(rest, count - static_cast<Position>(first.size()));
    std::merge(first.begin(), first.end(), alike.begin(), alike.end(), std::back_inserter(picked));
    return picked;
}

Entries LaserScores::most_attended(const Entries& candidates, Position count) const {
    std::vector<float> scores;
    for (const Position entry : candidates)
        scores.push_back(static_cast<float>(attention_[static_cast<std::size_t>(entry)]));
    return chosen(candidates, select_top(scores, count));
}

Entries LaserScores::most_alike(const Entries& candidates, Position count) const {
    Matrix rows(std::ssize(candidates), vectors_.cols());
    for (Eigen::Index i = 0; i < rows.rows(); ++i)
        rows.row(i) = vectors_.row(candidates[static_cast<std::size_t>(i)]);
    return chosen(
        candidates,
        lsh_select(view(rows), view(question_), view(projection_), selection_.lsh, count));
}

}  // namespace kvtape
