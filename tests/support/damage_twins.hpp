#pragma once

#include "core/types.hpp"
#include "tests/support/analysis_twins.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Naive twins of what evicting tokens does to the output of a head.
namespace kvtape::reference {

/// The output of one probe over the tokens of a set: weights scaled to add up to one.
struct NaiveOutput {
    double mass = 0.0;  ///< sum of the weights
    Row output;
};

inline NaiveOutput naive_output(const MatrixView& weights,
                                const MatrixView& values,
                                Eigen::Index row,
                                const Flags& kept) {
    NaiveOutput found{.mass = 0.0, .output = Row(static_cast<std::size_t>(values.cols()), 0.0)};
    for (std::size_t t = 0; t < kept.size(); ++t)
        if (kept[t] != 0) {
            const auto token = static_cast<Eigen::Index>(t);
            const auto weight = static_cast<double>(weights(row, token));
            found.mass += weight;
            for (std::size_t i = 0; i < found.output.size(); ++i)
                found.output[i] +=
                    weight * static_cast<double>(values(token, static_cast<Eigen::Index>(i)));
        }
    for (double& value : found.output)
        value = found.mass > 0.0 ? value / found.mass : 0.0;
    return found;
}
inline NaiveOutput naive_output(const Matrix& weights,
                                const Matrix& values,
                                Eigen::Index row,
                                const Flags& kept) {
    return naive_output(view(weights), view(values), row, kept);
}

inline double naive_distance(const Row& a, const Row& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(sum);
}

/// p / (1 - p) * ||o - v||, mean over probes. 1 - p is the share of all other tokens.
inline double naive_leave_one_out(const Matrix& weights, const Matrix& values, Position token) {
    const auto tokens = static_cast<std::size_t>(values.rows());
    double sum = 0.0;
    for (Eigen::Index row = 0; row < weights.rows(); ++row) {
        Flags others(tokens, 1);
        others[static_cast<std::size_t>(token)] = 0;
        const NaiveOutput all = naive_output(weights, values, row, Flags(tokens, 1));
        const double rest = naive_output(weights, values, row, others).mass;
        Row value;
        for (Eigen::Index i = 0; i < values.cols(); ++i)
            value.push_back(static_cast<double>(values(token, i)));
        sum += static_cast<double>(weights(row, token)) / rest * naive_distance(all.output, value);
    }
    return sum / static_cast<double>(weights.rows());
}

/// How far the output of all but one token is from the output of all, mean over probes.
inline double naive_move_without(const Matrix& weights, const Matrix& values, Position token) {
    const auto tokens = static_cast<std::size_t>(values.rows());
    double sum = 0.0;
    for (Eigen::Index row = 0; row < weights.rows(); ++row) {
        Flags others(tokens, 1);
        others[static_cast<std::size_t>(token)] = 0;
        sum += naive_distance(naive_output(weights, values, row, Flags(tokens, 1)).output,
                              naive_output(weights, values, row, others).output);
    }
    return sum / static_cast<double>(weights.rows());
}

struct NaiveDamage {
    double mass_kept = 0.0, median = 0.0, p95 = 0.0, projected_median = 0.0, projected_p95 = 0.0;
};

inline double naive_quantile(Row values, double fraction) {
    std::sort(values.begin(), values.end());
    const double place = fraction * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

/// W x, where W are the columns of one query head among those of its group.
inline Row naive_projected(const Matrix& projection, std::size_t head, const Row& x) {
    Row found;
    for (Eigen::Index row = 0; row < projection.rows(); ++row) {
        double sum = 0.0;
        for (std::size_t i = 0; i < x.size(); ++i)
            sum += x[i] * static_cast<double>(
                              projection(row, static_cast<Eigen::Index>(head * x.size() + i)));
        found.push_back(sum);
    }
    return found;
}

/// Mass and errors of a kept set over the probes of every query head of a group.
inline NaiveDamage naive_damage(const std::vector<MatrixView>& attention,
                                const MatrixView& values,
                                const Matrix& projection,
                                const Flags& kept) {
    Row masses, errors, projected;
    for (std::size_t head = 0; head < attention.size(); ++head)
        for (Eigen::Index row = 0; row < attention[head].rows(); ++row) {
            const NaiveOutput all =
                naive_output(attention[head], values, row, Flags(kept.size(), 1));
            const NaiveOutput held = naive_output(attention[head], values, row, kept);
            const Row zero(all.output.size(), 0.0);
            masses.push_back(held.mass / all.mass);
            errors.push_back(naive_distance(all.output, held.output) /
                             naive_distance(all.output, zero));
            const Row after = naive_projected(projection, head, all.output);
            projected.push_back(
                naive_distance(after, naive_projected(projection, head, held.output)) /
                naive_distance(after, Row(after.size(), 0.0)));
        }
    return {.mass_kept = naive_mean(masses),
            .median = naive_quantile(errors, 0.5),
            .p95 = naive_quantile(errors, 0.95),
            .projected_median = naive_quantile(projected, 0.5),
            .projected_p95 = naive_quantile(projected, 0.95)};
}

}  // namespace kvtape::reference
