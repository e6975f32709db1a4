#include "policies/parts/redundancy.hpp"

#include "core/kernels.hpp"

#include <algorithm>
#include <optional>

namespace kvtape {
namespace {

using Index = Eigen::Index;

std::span<const float> row_of(const Matrix& matrix, Index row) {
    return {matrix.data() + row * matrix.cols(), static_cast<std::size_t>(matrix.cols())};
}

/// The rows divided by their lengths; zeros have no direction and stay.
Matrix directions(MatrixView rows) {
    std::vector<float> inverse(static_cast<std::size_t>(rows.rows()));
    inverse_norms(rows, inverse);
    Matrix units(rows.rows(), rows.cols());
    for (Index row = 0; row < rows.rows(); ++row)
        units.row(row) = rows.row(row) * inverse[static_cast<std::size_t>(row)];
    return units;
}

std::vector<float> sum_of(const Matrix& rows) {
    std::vector<double> total(static_cast<std::size_t>(rows.cols()));
    for (Index row = 0; row < rows.rows(); ++row)
        for (std::size_t i = 0; i < total.size(); ++i)
            total[i] += static_cast<double>(row_of(rows, row)[i]);
    return {total.begin(), total.end()};
}

constexpr Index none = -1;

/// Looks for the last other row that is more similar to each row than a threshold. Columns come in
/// tiles from the last one. Similarity has no direction: what the rows before a tile are to its
/// columns serves both, so that no pair is compared twice, and none once both have found theirs.
class AllLastSimilar {
  public:
    AllLastSimilar(const Matrix& units, float threshold)
        : units_(units),
          threshold_(threshold),
          last_(static_cast<std::size_t>(units.rows()), none) {}

    /// Of every row, or `none`.
    std::vector<Index> find() {
        for (Index end = units_.rows(); end > 0; end = begin_) {
            begin_ = (end - 1) / tile * tile;
            width_ = end - begin_;
            rows_.clear();
            for (Index row = end; row-- > begin_;)
                if (is_open(row))
                    rows_.push_back(row);
            settle();
            compare_before();
        }
        return std::move(last_);
    }

  private:
    static constexpr Index tile = 256, rows_at_once = 1024;

    bool is_open(Index row) const { return last_[static_cast<std::size_t>(row)] == none; }

    /// Rows before the tile that are still looking; all of them while a row of the tile is. Later
    /// ones first, so that the first hit of a column is its last.
    void compare_before() {
        const auto of_tile = last_.begin() + begin_;
        for (Index row = begin_; row > 0;) {
            const bool all = std::find(of_tile, of_tile + width_, none) != of_tile + width_;
            rows_.clear();
            for (; row > 0 && std::ssize(rows_) < rows_at_once; --row)
                if (all || is_open(row - 1))
                    rows_.push_back(row - 1);
            settle();
        }
    }

    /// Compares `rows_` with the tile.
    void settle() {
        if (rows_.empty())
            return;
        directions_.resize(std::ssize(rows_), units_.cols());
        for (std::size_t i = 0; i < rows_.size(); ++i)
            directions_.row(static_cast<Index>(i)) = units_.row(rows_[i]);
        similar_.resize(directions_.rows(), width_);
        multiply_transposed(view(directions_),
                            view(units_.data() + begin_ * units_.cols(), width_, units_.cols()),
                            mutable_view(similar_));
        for (Index i = 0; i < similar_.rows(); ++i)
            if (maximum(row_of(similar_, i)) > threshold_)
                settle(rows_[static_cast<std::size_t>(i)], row_of(similar_, i));
    }

    void settle(Index row, std::span<const float> similar) {
        for (std::size_t i = similar.size(); i-- > 0;) {
            const Index column = begin_ + static_cast<Index>(i);
            if (!(similar[i] > threshold_) || column == row)
                continue;
            if (is_open(row))
                last_[static_cast<std::size_t>(row)] = column;
            if (row < begin_ && is_open(column))
                last_[static_cast<std::size_t>(column)] = row;
        }
    }

    const Matrix& units_;
    float threshold_;
    std::vector<Index> last_;
    Index begin_ = 0, width_ = 0;  ///< the tile
    std::vector<Index> rows_;      ///< compared with it
    Matrix directions_, similar_;
};

/// Similarities of row `row` to rows `[begin, begin + out.size())`, the bits that a comparison of
/// whole tiles gives.
void similarities(const Matrix& units, Index row, Index begin, std::span<float> out) {
    const auto columns = static_cast<Index>(out.size());
    multiply_transposed(view(units.data() + row * units.cols(), 1, units.cols()),
                        view(units.data() + begin * units.cols(), columns, units.cols()),
                        mutable_view(out.data(), 1, columns));
}

/// The last row before `end`, other than `row`, that is more similar to it than `threshold`.
Index last_similar(const Matrix& units, Index row, Index end, float threshold) {
    constexpr Index most = 256;
    std::vector<float> similar;
    for (Index stretch = 32; end > 0; stretch = std::min(2 * stretch, most)) {
        const Index begin = std::max<Index>(0, end - stretch);
        similar.resize(static_cast<std::size_t>(end - begin));
        similarities(units, row, begin, similar);
        for (; end > begin; --end)
            if (end - 1 != row && similar[static_cast<std::size_t>(end - 1 - begin)] > threshold)
                return end - 1;
    }
    return none;
}

/// Whether `held` are some of `before` and then later ones; how many of them were there before.
std::optional<Index> known(std::span<const Position> held, std::span<const Position> before) {
    if (before.empty())
        return std::nullopt;
    const auto split = std::upper_bound(held.begin(), held.end(), before.back());
    if (!std::includes(before.begin(), before.end(), held.begin(), split))
        return std::nullopt;
    return split - held.begin();
}

/// The last similar key of each row, where `last` [count] is that of the first `count` rows among
/// themselves and the rows behind them are new.
void compare_new(const Matrix& units, float threshold, Index count, std::vector<Index>& last) {
    last.resize(static_cast<std::size_t>(units.rows()), none);
    std::vector<float> similar;
    for (Index row = std::max<Index>(1, count); row < units.rows(); ++row) {
        similar.resize(static_cast<std::size_t>(row));
        similarities(units, row, 0, similar);
        for (Index other = 0; other < row; ++other)
            if (similar[static_cast<std::size_t>(other)] > threshold) {
                last[static_cast<std::size_t>(other)] = row;
                last[static_cast<std::size_t>(row)] = other;
            }
    }
}

}  // namespace

std::vector<Index> SimilarKeys::last_similar_keys(std::span<const Position> positions,
                                                  const Matrix& units,
                                                  float threshold) const {
    const std::optional<Index> count = known(positions, positions_);
    // A tile at a time is faster for many new keys than one by one.
    if (!count || 2 * *count < units.rows())
        return AllLastSimilar(units, threshold).find();
    std::vector<Index> last;
    auto before = positions_.begin();
    for (Index row = 0; row < *count; ++row) {
        before =
            std::lower_bound(before, positions_.end(), positions[static_cast<std::size_t>(row)]);
        const Position similar = similar_[static_cast<std::size_t>(before - positions_.begin())];
        const auto at = std::lower_bound(positions.begin(), positions.begin() + *count, similar);
        const Index index = at - positions.begin();
        const bool held = at != positions.begin() + *count && *at == similar;
        last.push_back(similar < 0 ? none
                       : held      ? index
                                   : last_similar(units, row, index, threshold));
    }
    compare_new(units, threshold, *count, last);
    return last;
}

std::vector<float> SimilarKeys::mean_similarity(std::span<const Position> positions,
                                                MatrixView keys,
                                                float threshold) {
    const Matrix units = directions(keys);
    const std::vector<float> total = sum_of(units);
    std::vector<double> sums(static_cast<std::size_t>(keys.rows()));
    for (Index key = 0; key < keys.rows(); ++key) {
        const std::span<const float> unit = row_of(units, key);
        sums[static_cast<std::size_t>(key)] =
            static_cast<double>(dot(unit, total)) - static_cast<double>(dot(unit, unit));
    }
    const std::vector<Index> last = last_similar_keys(positions, units, threshold);
    for (Index key = 0; key < keys.rows(); ++key) {
        const Index spared = std::max<Index>(0, last[static_cast<std::size_t>(key)]);
        if (spared != key)
            sums[static_cast<std::size_t>(spared)] -=
                static_cast<double>(dot(row_of(units, key), row_of(units, spared)));
    }
    for (double& sum : sums)
        sum /= static_cast<double>(keys.rows());
    positions_.assign(positions.begin(), positions.end());
    similar_.clear();
    for (const Index index : last)
        similar_.push_back(index == none ? -1 : positions[static_cast<std::size_t>(index)]);
    return {sums.begin(), sums.end()};
}

}  // namespace kvtape
