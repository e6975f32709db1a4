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

/// The best center of one entry so far.
struct Best {
    Position center = -1;
    float likeness = 0.0f;
};

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
    if (static_cast<double>(largest) < likeness.least ||
        (best.center >= 0 && largest <= best.likeness))
        return;
    const auto at = std::find(keys.begin(), keys.end(), largest) - keys.begin();
    best = {static_cast<Position>(first + at), largest};
}

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
    std::vector<float> key_tile(entries_at_once * centers_at_once), value_tile(key_tile.size());
    for (Index begin = 0; begin < std::ssize(entries); begin += entries_at_once) {
        const Index count = std::min(entries_at_once, std::ssize(entries) - begin);
        const auto rows =
            entries.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
        const Matrix own_keys = unit_rows(head, head.keys, rows);
        const Matrix own_values = unit_rows(head, head.values, rows);
        std::vector<Best> best(rows.size());
        for (Index first = 0; first < all; first += centers_at_once) {
            const Index width = std::min(centers_at_once, all - first);
            multiply_part(view(own_keys), keys, first, mutable_view(key_tile.data(), count, width));
            multiply_part(
                view(own_values), values, first, mutable_view(value_tile.data(), count, width));
            const auto row_of = [&](std::vector<float>& tile, std::size_t row) {
                return std::span(tile).subspan(row * static_cast<std::size_t>(width),
                                               static_cast<std::size_t>(width));
            };
            for (std::size_t row = 0; row < rows.size(); ++row)
                improve(best[row], row_of(key_tile, row), row_of(value_tile, row), likeness, first);
        }
        for (std::size_t row = 0; row < rows.size(); ++row)
            found[static_cast<std::size_t>(begin) + row] = best[row].center;
    }
    return found;
}

}  // namespace kvtape
