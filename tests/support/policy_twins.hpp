#pragma once

#include "policies/policy.hpp"
#include "tests/support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

/// The scores of the policies, written down from their formulas in double precision.
namespace kvtape::reference {

using Row = std::vector<double>;
using Table = std::vector<Row>;

/// p[row][entry] of the observed queries of one KV head.
inline Table probabilities(const HeadView& head, const Shape& shape) {
    Table table;
    for (Eigen::Index row = 0; row < head.observed.queries.rows(); ++row) {
        const auto at = static_cast<std::size_t>(row);
        const Position own = head.observed.positions[at % head.observed.positions.size()];
        Row logits;
        for (Eigen::Index entry = 0; entry < head.keys.rows(); ++entry) {
            const bool hidden = head.observed.logsumexp.empty() &&
                                head.positions[static_cast<std::size_t>(entry)] > own;
            logits.push_back(hidden
                                 ? -INFINITY
                                 : shape.softmax_scale * dot(head.observed.queries.row(row).data(),
                                                             head.keys.row(entry).data(),
                                                             shape.head_dim));
        }
        if (head.observed.logsumexp.empty()) {
            table.push_back(softmax(logits));
            continue;
        }
        for (double& logit : logits)
            logit = std::exp(logit - static_cast<double>(head.observed.logsumexp[at]));
        table.push_back(logits);
    }
    return table;
}

/// The sum of rows [begin, end).
inline Row sum_rows(const Table& table, std::size_t begin, std::size_t end, std::size_t width) {
    Row sum(width);
    for (std::size_t row = begin; row < end; ++row)
        for (std::size_t i = 0; i < width; ++i)
            sum[i] += table[row][i];
    return sum;
}

inline Row oracle(const HeadView& head, const Shape& shape) {
    const Table table = probabilities(head, shape);
    return sum_rows(table, 0, table.size(), head.positions.size());
}

inline Row h2o(const HeadView& head, const Shape& shape) {
    Row score = oracle(head, shape);
    for (Eigen::Index row = 0; row < head.column_sums.rows(); ++row)
        for (std::size_t i = 0; i < score.size(); ++i)
            score[i] += static_cast<double>(head.column_sums(row, static_cast<Eigen::Index>(i)));
    return score;
}

inline Row knorm(const HeadView& head) {
    Row score;
    for (Eigen::Index i = 0; i < head.keys.rows(); ++i) {
        const float* key = head.keys.row(i).data();
        score.push_back(-std::sqrt(dot(key, key, head.keys.cols())));
    }
    return score;
}

inline Row tova(const LayerView& layer, const Shape& shape) {
    Row score(layer.heads[0].positions.size());
    double votes = 0.0;
    for (const HeadView& head : layer.heads)
        for (const Row& row : probabilities(head, shape)) {
            votes += 1.0;
            for (std::size_t i = 0; i < score.size(); ++i)
                score[i] += row[i];
        }
    for (double& value : score)
        value /= votes;
    return score;
}

/// Pooling with stride 1; missing neighbours count as zeros in an average.
inline Row pool(const Row& score, std::ptrdiff_t kernel, bool average) {
    Row out;
    for (std::ptrdiff_t i = 0; i < std::ssize(score); ++i) {
        double sum = 0.0, largest = -INFINITY;
        for (std::ptrdiff_t j = i - kernel / 2; j <= i + kernel / 2; ++j) {
            if (j < 0 || j >= std::ssize(score))
                continue;
            sum += score[static_cast<std::size_t>(j)];
            largest = std::max(largest, score[static_cast<std::size_t>(j)]);
        }
        out.push_back(average ? sum / static_cast<double>(kernel) : largest);
    }
    return out;
}

struct SnapKv {
    std::size_t window = 64;
    std::ptrdiff_t kernel = 5;
    bool average = true;
    bool pool_first = true;
    bool add_votes = false;  ///< of the window's queries, instead of their mean
    char reduce = 'a';       ///< query heads: `a`verage, `s`um, `m`ax
};

/// Scores of the entries before the window.
inline Row snapkv(const HeadView& head, const Shape& shape, const SnapKv& options) {
    const std::size_t held = head.positions.size();
    if (held <= options.window)
        return {};
    const std::size_t past = held - options.window;
    const std::size_t rows = head.observed.positions.size();
    const auto group = static_cast<std::size_t>(shape.group());
    const Table table = probabilities(head, shape);
    Table votes;
    for (std::size_t g = 0; g < group; ++g) {
        votes.push_back(sum_rows(table, g * rows, (g + 1) * rows, past));
        for (double& vote : votes.back())
            vote /= options.add_votes ? 1.0 : static_cast<double>(rows);
        if (options.pool_first)
            votes.back() = pool(votes.back(), options.kernel, options.average);
    }
    Row score = sum_rows(votes, 0, group, past);
    for (std::size_t i = 0; i < past; ++i) {
        if (options.reduce == 'a')
            score[i] /= static_cast<double>(group);
        if (options.reduce == 'm')
            for (score[i] = votes[0][i]; const Row& vote : votes)
                score[i] = std::max(score[i], vote[i]);
    }
    return options.pool_first ? score : pool(score, options.kernel, options.average);
}

}  // namespace kvtape::reference
