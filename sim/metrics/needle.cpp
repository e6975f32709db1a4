#include "sim/metrics/needle.hpp"

#include "core/reduce.hpp"

#include <algorithm>

namespace kvtape {

std::vector<Position> needle_positions(const SequenceInfo& sequence) {
    std::vector<Position> positions;
    for (const Span& span : sequence.spans)
        if (span.kind == SpanKind::needle)
            for (Position t = span.begin; t < std::min(span.end, sequence.context_len); ++t)
                positions.push_back(t);
    std::sort(positions.begin(), positions.end());
    positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
    return positions;
}

double needle_weight(std::span<const MatrixView> attention, std::span<const Position> needle) {
    std::vector<double> masses;
    for (const MatrixView& head : attention)
        for (Eigen::Index row = 0; row < head.rows(); ++row) {
            const float* weights = head.data() + row * head.outerStride();
            std::vector<double> on_needle;
            for (const Position token : needle)
                on_needle.push_back(static_cast<double>(weights[token]));
            const double total =
                ordered_sum(std::span<const float>(weights, static_cast<std::size_t>(head.cols())));
            masses.push_back(ordered_sum(std::span<const double>(on_needle)) / total);
        }
    return ordered_mean(masses);
}

std::vector<std::int32_t> needle_kept(std::span<const Position> needle, const NestedSets& sets) {
    std::vector<std::int32_t> kept(static_cast<std::size_t>(sets.budgets));
    for (const Position token : needle)
        for (auto b = static_cast<std::size_t>(sets.survives_from[static_cast<std::size_t>(token)]);
             b < kept.size();
             ++b)
            ++kept[b];
    return kept;
}

}  // namespace kvtape
