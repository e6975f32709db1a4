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

std::vector<double> needle_attention(std::span<const MatrixView> attention,
                                     std::span<const Position> needle) {
    std::vector<double> means;
    for (const Position token : needle) {
        std::vector<double> shares;
        for (const MatrixView& head : attention)
            for (Eigen::Index row = 0; row < head.rows(); ++row) {
                const float* weights = head.data() + row * head.outerStride();
                const double total = ordered_sum(
                    std::span<const float>(weights, static_cast<std::size_t>(head.cols())));
                shares.push_back(static_cast<double>(weights[token]) / total);
            }
        means.push_back(ordered_mean(shares));
    }
    return means;
}

double needle_read(std::span<const double> attention,
                   std::span<const Position> needle,
                   std::span<const char> kept) {
    std::vector<double> held;
    for (std::size_t i = 0; i < needle.size(); ++i)
        held.push_back(kept[static_cast<std::size_t>(needle[i])] != 0 ? attention[i] : 0.0);
    const double all = ordered_sum(attention);
    return all > 0.0 ? ordered_sum(std::span<const double>(held)) / all : 0.0;
}

std::int64_t needle_kept(std::span<const Position> needle, std::span<const char> kept) {
    return std::count_if(needle.begin(), needle.end(), [&](Position token) {
        return kept[static_cast<std::size_t>(token)] != 0;
    });
}

}  // namespace kvtape
