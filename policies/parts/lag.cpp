#include "policies/parts/lag.hpp"

#include "core/kernels.hpp"
#include "policies/parts/finite.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// How a channel is rescaled: (x - smallest) * factor.
struct Scale {
    std::vector<float> smallest;
    std::vector<float> factor;

    explicit Scale(Index channels)
        : smallest(static_cast<std::size_t>(channels)),
          factor(smallest.size()) {}

    /// Takes the range of `reference`. A constant channel gets factor 0.
    void measure(const HeadView& head, MatrixView reference) {
        column_range(reference, smallest, factor);
        for (std::size_t i = 0; i < factor.size(); ++i) {
            const float range = factor[i] - smallest[i];
            if (!std::isfinite(range))
                refuse_not_finite(head);
            factor[i] = range == 0.0f ? 0.0f : 1.0f / range;
        }
    }
};

MatrixView rows_of(MatrixView matrix, Position begin, Position count) {
    return {matrix.data() + begin * matrix.outerStride(),
            count,
            matrix.cols(),
            Eigen::OuterStride<>(matrix.outerStride())};
}

/// scores[i] += ratio * softmax over the partition of the spread of row i.
void add_partition(const HeadView& head,
                   MatrixView rows,
                   MatrixView reference,
                   float ratio,
                   Scale& scale,
                   std::span<float> scores) {
    scale.measure(head, reference);
    std::vector<float> spreads(scores.size());
    squared_deviations(rows, scale.smallest, scale.factor, spreads);
    const auto divisor = static_cast<float>(std::max<Index>(1, rows.cols() - 1));
    for (float& spread : spreads)
        spread = std::sqrt(spread / divisor);
    const double total = exp_shifted(spreads, maximum(spreads));
    const float share = static_cast<float>(1.0 / total);
    for (std::size_t i = 0; i < scores.size(); ++i)
        scores[i] += ratio * (spreads[i] * share);
}

}  // namespace

LagLayout lag_layout(Position held, Position base, Position lag) {
    const std::int64_t free = std::int64_t{held} - base;
    if (free < 2 * std::int64_t{lag})
        return {.base = base, .lag = lag, .partitions = 0, .window = std::max(0, held - base)};
    const Position full = (held - base) / lag;
    return {
        .base = base, .lag = lag, .partitions = full - 1, .window = held - base - (full - 1) * lag};
}

std::vector<float> lag_scores(const HeadView& head,
                              const LagLayout& layout,
                              float value_ratio,
                              LagScore score) {
    std::vector<float> scores(static_cast<std::size_t>(layout.partitions * layout.lag));
    if (score == LagScore::l2) {
        if (scores.empty())
            return scores;
        squared_norms(rows_of(head.keys, layout.base, layout.partitions * layout.lag), scores);
        for (float& value : scores)
            value = -std::sqrt(value);
        check_scores(head, scores);
        return scores;
    }
    const auto lag = static_cast<std::size_t>(layout.lag);
    const Position ahead = score == LagScore::lag ? layout.lag : 0;
    const auto add = [&](MatrixView tensor, float ratio) {
        Scale scale(tensor.cols());
        for (Position p = 0; p < layout.partitions; ++p) {
            const Position begin = layout.base + p * layout.lag;
            add_partition(head,
                          rows_of(tensor, begin, layout.lag),
                          rows_of(tensor, begin + ahead, layout.lag),
                          ratio,
                          scale,
                          std::span(scores).subspan(static_cast<std::size_t>(p) * lag, lag));
        }
    };
    add(head.keys, 1.0f);
    if (value_ratio != 0.0f)
        add(head.values, value_ratio);
    check_scores(head, scores);
    return scores;
}

}  // namespace kvtape
