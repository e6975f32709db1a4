#pragma once

#include "core/rotation.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

/// The distribution of queries before RoPE, written down from its definition in double precision.
namespace kvtape::reference {

/// Mean [heads, dim] and covariance [heads, dim, dim].
struct QueryDistribution {
    std::vector<float> mean, covariance;
};

/// `row` turned by `factor` times the angles of `position`; -1 undoes RoPE.
inline std::vector<double> turned(std::vector<double> row,
                                  const Rotation& rotation,
                                  Position position,
                                  double factor) {
    const std::size_t pairs = rotation.inv_freq.size();
    for (std::size_t i = 0; i < pairs; ++i) {
        const double angle = factor * position * rotation.inv_freq[i];
        double& a = row[rotation.interleaved ? 2 * i : i];
        double& b = row[rotation.interleaved ? 2 * i + 1 : i + pairs];
        const double x = a, y = b;
        a = x * std::cos(angle) - y * std::sin(angle);
        b = x * std::sin(angle) + y * std::cos(angle);
    }
    return row;
}

/// Positions `[begin, end)`.
struct Between {
    Position begin = 0, end = 0;
};

/// Of `heads` query heads from `first` on, of queries [query_heads, positions, dim] after RoPE.
inline QueryDistribution query_distribution(const std::vector<float>& queries,
                                            const std::vector<Position>& positions,
                                            Eigen::Index first,
                                            Eigen::Index heads,
                                            Eigen::Index dim,
                                            Between between,
                                            const Rotation& rotation) {
    const auto width = static_cast<std::size_t>(dim);
    QueryDistribution found;
    for (Eigen::Index head = first; head < first + heads; ++head) {
        std::vector<std::vector<double>> rows;
        for (std::size_t i = 0; i < positions.size(); ++i) {
            if (positions[i] < between.begin || positions[i] >= between.end)
                continue;
            const auto from = queries.begin() +
                              (head * std::ssize(positions) + static_cast<Eigen::Index>(i)) * dim;
            rows.push_back(turned({from, from + dim}, rotation, positions[i], -1.0));
        }
        const auto count = static_cast<double>(rows.empty() ? 1 : rows.size());
        std::vector<double> mean(width);
        for (const auto& row : rows)
            for (std::size_t i = 0; i < width; ++i)
                mean[i] += row[i] / count;
        found.mean.insert(found.mean.end(), mean.begin(), mean.end());
        for (std::size_t i = 0; i < width; ++i)
            for (std::size_t j = 0; j < width; ++j) {
                double sum = 0.0;
                for (const auto& row : rows)
                    sum += (row[i] - mean[i]) * (row[j] - mean[j]);
                found.covariance.push_back(static_cast<float>(sum / count));
            }
    }
    return found;
}

}  // namespace kvtape::reference
