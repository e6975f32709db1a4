#include "policies/parts/likeness.hpp"

#include "core/kernels.hpp"
#include "policies/parts/finite.hpp"

#include <algorithm>
#include <cmath>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// Entries and centers of one tile of cosines: multiples of the tiles of the product, and small
/// enough that two tiles stay near the caches.
constexpr Index entries_at_once = 132;
constexpr Index centers_at_once = 512;

/// The rows of `rows`, each divided by its length; zero rows stay.
Matrix unit_rows(const HeadView& head, MatrixView from, std::span<const Position> rows) {
    Matrix unit(std::ssize(rows), from.cols());
    for (Index i = 0; i < unit.rows(); ++i)
        unit.row(i) = from.row(rows[static_cast<std::size_t>(i)]);
    std::vector<float> squares(rows.size());
    squared_norms(view(unit), squares);
    check_scores(head, squares);
    for (Index i = 0; i < unit.rows(); ++i)
        if (const float square = squares[static_cast<std::size_t>(i)]; square > 0.0f)
            unit.row(i) *= 1.0f / std::sqrt(square);
    return unit;
}

/// Cosines of computed unit vectors may exceed one by what was rounded.
constexpr float largest_cosine = 1.001f;

/// The best center of one entry so far.
struct Best {
    Position center = -1;
    float likeness = 0.0f;

    bool is_beaten_by(float other, const Likeness& bounds) const {
        return static_cast<double>(other) >= bounds.least && (center < 0 || other > likeness);
    }
};

/// No center of a tile is more alike than this, whatever the values are.
float most_to_hope(std::span<const float> keys, const Likeness& likeness) {
    float most = std::max(maximum(keys), 0.0f);
    if (likeness.literal)
        for (const float cosine : keys)
            most = std::max(most, -cosine);
    return most * largest_cosine;
}

/// Looks for a better center among those of one tile, the first of which is `first`. `keys` holds
/// the cosines of keys, and afterwards the likenesses.
void improve(Best& best,
             std::span<float> keys,
             std::span<const float> values,
             const Likeness& likeness,
             Index first) {
    if (likeness.literal)
        for (std::size_t i = 0; i < keys.size(); ++i)
            keys[i] *= values[i];
    else
        for (std::size_t i = 0; i < keys.size(); ++i)
            keys[i] = std::max(keys[i], 0.0f) * std::max(values[i], 0.0f);
    const float largest = maximum(keys);
    if (!best.is_beaten_by(largest, likeness))
        return;
    const auto at = std::find(keys.begin(), keys.end(), largest) - keys.begin();
    best = {static_cast<Position>(first + at), largest};
}

/// Cosines of some entries with the centers of a tile, a row each.
class Tile {
  public:
    Tile() : cosines_(entries_at_once * centers_at_once) {}

    void fill(MatrixView entries, const Packed& centers, Index first, Index width) {
        width_ = static_cast<std::size_t>(width);
        multiply_part(
            entries, centers, first, mutable_view(cosines_.data(), entries.rows(), width));
    }
    std::span<float> row(std::size_t index) {
        return std::span(cosines_).subspan(index * width_, width_);
    }

  private:
    std::vector<float> cosines_;
    std::size_t width_ = 0;
};

}  // namespace

std::vector<Position> most_alike(const HeadView& head,
                                 std::span<const Position> entries,
                                 std::span<const Position> centers,
                                 const Likeness& likeness) {
    std::vector<Position> found(entries.size(), -1);
    if (entries.empty() || centers.empty())
        return found;
    const Packed keys = Packed::transposed(view(unit_rows(head, head.keys, centers)));
    const Packed values = Packed::transposed(view(unit_rows(head, head.values, centers)));
    const auto all = std::ssize(centers);
    Tile key_tile, value_tile;
    Matrix wanted(entries_at_once, head.values.cols());
    for (Index begin = 0; begin < std::ssize(entries); begin += entries_at_once) {
        const Index count = std::min(entries_at_once, std::ssize(entries) - begin);
        const auto rows =
            entries.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
        const Matrix own_keys = unit_rows(head, head.keys, rows);
        const Matrix own_values = unit_rows(head, head.values, rows);
        std::vector<Best> best(rows.size());
        for (Index first = 0; first < all; first += centers_at_once) {
            const Index width = std::min(centers_at_once, all - first);
            key_tile.fill(view(own_keys), keys, first, width);
            std::vector<std::size_t> open;  // values may make a difference
            for (std::size_t row = 0; row < rows.size(); ++row) {
                if (!best[row].is_beaten_by(most_to_hope(key_tile.row(row), likeness), likeness))
                    continue;
                wanted.row(std::ssize(open)) = own_values.row(static_cast<Index>(row));
                open.push_back(row);
            }
            if (open.empty())
                continue;
            value_tile.fill(
                view(wanted.data(), std::ssize(open), wanted.cols()), values, first, width);
            for (std::size_t i = 0; i < open.size(); ++i)
                improve(best[open[i]], key_tile.row(open[i]), value_tile.row(i), likeness, first);
        }
        for (std::size_t row = 0; row < rows.size(); ++row)
            if (best[row].center >= 0)
                found[static_cast<std::size_t>(begin) + row] =
                    centers[static_cast<std::size_t>(best[row].center)];
    }
    return found;
}

}  // namespace kvtape
