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

std::int64_t needle_kept(std::span<const Position> needle, std::span<const char> kept) {
    return std::count_if(needle.begin(), needle.end(), [&](Position token) {
        return kept[static_cast<std::size_t>(token)] != 0;
    });
}

}  // namespace kvtape
