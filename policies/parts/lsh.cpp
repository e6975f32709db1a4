#include "policies/parts/lsh.hpp"

#include "core/exp.hpp"
#include "core/kernels.hpp"
#include "core/topk.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// The mean of every column, added up in double in the order of the rows.
std::vector<double> column_means(MatrixView rows) {
    std::vector<double> means(static_cast<std::size_t>(rows.cols()));
    for (Index r = 0; r < rows.rows(); ++r)
        for (Index c = 0; c < rows.cols(); ++c)
            means[static_cast<std::size_t>(c)] += static_cast<double>(rows(r, c));
    for (double& mean : means)
        mean /= static_cast<double>(rows.rows());
    return means;
}

Matrix shifted(MatrixView rows, std::span<const double> by) {
    Matrix result = rows;
    for (Index r = 0; r < result.rows(); ++r)
        for (Index c = 0; c < result.cols(); ++c)
            result(r, c) -= static_cast<float>(by[static_cast<std::size_t>(c)]);
    return result;
}

/// Points to be near to, and the unit of each channel where they differ.
struct Landmarks {
    Matrix points;
    std::vector<float> inverse_units;
};

Matrix mean_row(MatrixView rows) {
    const std::vector<double> means = column_means(rows);
    Matrix mean(1, rows.cols());
    for (Index c = 0; c < rows.cols(); ++c)
        mean(0, c) = static_cast<float>(means[static_cast<std::size_t>(c)]);
    return mean;
}

/// Means of k = min(8, max(1, floor(m / 16))) stretches of ceil(m / k) rows; the last may be
/// shorter.
Matrix centroids(MatrixView rows) {
    const Index wanted = std::clamp<Index>(rows.rows() / 16, 1, 8);
    const Index length = (rows.rows() + wanted - 1) / wanted;
    const Index count = (rows.rows() + length - 1) / length;
    Matrix means(count, rows.cols());
    for (Index i = 0; i < count; ++i) {
        const Index first = i * length;
        means.row(i) = mean_row(view(rows.data() + first * rows.outerStride(),
                                     std::min(length, rows.rows() - first),
                                     rows.cols()));
    }
    return means;
}

/// One over the deviation of every column: the root of its unbiased variance (0 for a single row)
/// and 1e-8.
std::vector<float> inverse_deviations(MatrixView rows) {
    const std::vector<double> means = column_means(rows);
    std::vector<float> inverse;
    for (Index c = 0; c < rows.cols(); ++c) {
        double squares = 0.0;
        for (Index r = 0; r < rows.rows(); ++r) {
            const double deviation =
                static_cast<double>(rows(r, c)) - means[static_cast<std::size_t>(c)];
            squares += deviation * deviation;
        }
        const double variance =
            rows.rows() > 1 ? squares / static_cast<double>(rows.rows() - 1) : 0.0;
        inverse.push_back(static_cast<float>(1.0 / std::sqrt(variance + 1e-8)));
    }
    return inverse;
}

Landmarks landmarks(MatrixView question, LshTie tie) {
    Landmarks marks{.points = Matrix(0, question.cols()), .inverse_units = {}};
    switch (tie) {
        case LshTie::l2:
            marks.points = mean_row(question);
            break;
        case LshTie::max_sim:
            marks.points = question;
            break;
        case LshTie::mahalanobis:
            marks.points = mean_row(question);
            marks.inverse_units = inverse_deviations(question);
            break;
        case LshTie::partitioned_centroid:
            marks.points = centroids(question);
            break;
        case LshTie::none:
            break;
    }
    return marks;
}

/// The squared distance of every row to its nearest landmark; 0 where there is none.
std::vector<float> distances(MatrixView rows, const Landmarks& marks) {
    const auto count = static_cast<std::size_t>(rows.rows());
    if (marks.points.rows() == 0)
        return std::vector<float>(count);
    std::vector<float> nearest(count, std::numeric_limits<float>::infinity()), own(count);
    Matrix difference(rows.rows(), rows.cols());
    for (Index point = 0; point < marks.points.rows(); ++point) {
        difference = rows.rowwise() - marks.points.row(point);
        for (std::size_t c = 0; c < marks.inverse_units.size(); ++c)
            difference.col(static_cast<Index>(c)) *= marks.inverse_units[c];
        squared_norms(view(difference), own);
        // Not std::min: infinite differences give NaN, which is not near.
        for (std::size_t i = 0; i < count; ++i)
            nearest[i] = std::fmin(nearest[i], own[i]);
    }
    return nearest;
}

/// Of each candidate, in how many tables it shares its bucket with a question token, added up over
/// these tokens.
std::vector<std::int32_t> shared_buckets(const SignHashes& candidates, const SignHashes& question) {
    std::vector<std::int32_t> shared(static_cast<std::size_t>(candidates.rows()));
    for (Index c = 0; c < candidates.rows(); ++c)
        for (Index q = 0; q < question.rows(); ++q)
            for (std::int32_t table = 0; table < candidates.tables(); ++table)
                shared[static_cast<std::size_t>(c)] +=
                    candidates.bucket(c, table) == question.bucket(q, table) ? 1 : 0;
    return shared;
}

/// The first `count` of all candidates sorted by number, descending, then by distance, ascending.
std::vector<Position> best(std::span<const std::int32_t> numbers,
                           std::span<const float> distances,
                           Position count) {
    std::vector<Position> order(numbers.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) {
        const auto x = static_cast<std::size_t>(a), y = static_cast<std::size_t>(b);
        return numbers[x] != numbers[y] ? numbers[x] > numbers[y] : distances[x] < distances[y];
    });
    order.resize(static_cast<std::size_t>(count));
    std::sort(order.begin(), order.end());
    return order;
}

/// Candidates that share fewer than two tables rank below all others, the latest first.
std::vector<Position> magicpig(const SignHashes& candidates,
                               const SignHashes& question,
                               Position count) {
    const std::vector<std::int32_t> tables = shared_tables(candidates, question);
    std::vector<std::int32_t> ranks = most_equal_bits(candidates, question);
    const auto all = static_cast<std::int32_t>(ranks.size());
    for (std::int32_t i = 0; i < all; ++i)
        if (tables[static_cast<std::size_t>(i)] < 2)
            ranks[static_cast<std::size_t>(i)] = i - all;
    return best(ranks, std::vector<float>(ranks.size()), count);
}

}  // namespace

Matrix gaussian_matrix(Index rows, Index columns, const Philox& random) {
    constexpr double unit = 0x1p-32;
    Matrix matrix(rows, columns);
    for (Index first = 0; first < matrix.size(); first += 4) {
        const auto words = random.block(static_cast<std::uint64_t>(first / 4));
        for (Index pair = 0; pair < 4; pair += 2) {
            const auto at = static_cast<std::size_t>(pair);
            const double u = (words[at] + 0.5) * unit, turns = (words[at + 1] + 0.5) * unit;
            const double radius = std::sqrt(-2.0 * logarithm(u));
            const auto [sine, cosine] = sine_cosine(turns);
            for (const auto& [offset, value] : {std::pair{pair, cosine}, std::pair{pair + 1, sine}})
                if (first + offset < matrix.size())
                    matrix.data()[first + offset] = static_cast<float>(radius * value);
        }
    }
    return matrix;
}

SignHashes::SignHashes(MatrixView rows, MatrixView projection, std::int32_t bits)
    : rows_(rows.rows()),
      bits_(bits),
      tables_(static_cast<std::int32_t>(projection.cols()) / bits),
      words_per_row_(static_cast<std::size_t>((projection.cols() + 63) / 64)),
      buckets_(static_cast<std::size_t>(rows.rows() * tables_)),
      words_(static_cast<std::size_t>(rows.rows()) * words_per_row_) {
    constexpr Index rows_at_once = 256;
    const Packed packed = Packed::straight(projection);
    Matrix projected(std::min(rows_at_once, rows_), projection.cols());
    for (Index begin = 0; begin < rows_; begin += rows_at_once) {
        const Index count = std::min(rows_at_once, rows_ - begin);
        multiply({rows.data() + begin * rows.outerStride(),
                  count,
                  rows.cols(),
                  Eigen::OuterStride<>(rows.outerStride())},
                 packed,
                 mutable_view(projected.data(), count, projected.cols()));
        for (Index row = 0; row < count; ++row)
            pack({projected.row(row).data(), static_cast<std::size_t>(projected.cols())},
                 begin + row);
    }
}

void SignHashes::pack(std::span<const float> projected, Index row) {
    std::uint32_t* buckets = buckets_.data() + row * tables_;
    std::uint64_t* words = words_.data() + static_cast<std::size_t>(row) * words_per_row_;
    const auto bits = static_cast<std::size_t>(bits_);
    for (std::size_t i = 0; i < projected.size(); ++i) {
        const std::uint32_t set = projected[i] > 0.0f ? 1 : 0;
        words[i / 64] |= std::uint64_t{set} << (i % 64);
        buckets[i / bits] |= set << (i % bits);
    }
}

std::vector<std::int32_t> most_equal_bits(const SignHashes& candidates,
                                          const SignHashes& question) {
    std::vector<std::int32_t> most(static_cast<std::size_t>(candidates.rows()));
    for (Index c = 0; c < candidates.rows(); ++c) {
        const auto own = candidates.words(c);
        int fewest_differ = std::numeric_limits<int>::max();
        for (Index q = 0; q < question.rows(); ++q) {
            const auto other = question.words(q);
            int differ = 0;
            for (std::size_t word = 0; word < own.size(); ++word)
                differ += std::popcount(own[word] ^ other[word]);
            fewest_differ = std::min(fewest_differ, differ);
        }
        most[static_cast<std::size_t>(c)] = candidates.all_bits() - fewest_differ;
    }
    return most;
}

std::vector<std::int32_t> shared_tables(const SignHashes& candidates, const SignHashes& question) {
    std::vector<std::int32_t> shared(static_cast<std::size_t>(candidates.rows()));
    std::vector<std::uint32_t> active(static_cast<std::size_t>(question.rows()));
    for (std::int32_t table = 0; table < candidates.tables(); ++table) {
        for (Index q = 0; q < question.rows(); ++q)
            active[static_cast<std::size_t>(q)] = question.bucket(q, table);
        std::sort(active.begin(), active.end());
        for (Index c = 0; c < candidates.rows(); ++c)
            shared[static_cast<std::size_t>(c)] +=
                std::binary_search(active.begin(), active.end(), candidates.bucket(c, table)) ? 1
                                                                                              : 0;
    }
    return shared;
}

std::vector<Position> lsh_select(MatrixView candidates,
                                 MatrixView question,
                                 MatrixView projection,
                                 const LshSettings& settings,
                                 Position count) {
    const auto all = static_cast<Position>(candidates.rows());
    count = std::clamp(count, 0, all);
    if (count == 0 || count == all) {
        std::vector<Position> selected(static_cast<std::size_t>(count));
        std::iota(selected.begin(), selected.end(), 0);
        return selected;
    }
    const std::vector<double> centre = column_means(candidates);
    const Matrix centred = shifted(candidates, centre), asked = shifted(question, centre);
    const SignHashes own(view(centred), projection, settings.bits);
    const SignHashes other(view(asked), projection, settings.bits);
    switch (settings.rank) {
        case LshRank::magicpig_baseline:
            return magicpig(own, other, count);
        case LshRank::frequency_rank:
            return best(shared_tables(own, other),
                        distances(view(centred), landmarks(view(asked), settings.tie)),
                        count);
        case LshRank::mean_collision:
            break;
    }
    return best(
        shared_buckets(own, other), std::vector<float>(static_cast<std::size_t>(all)), count);
}

}  // namespace kvtape
