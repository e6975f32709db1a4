#include "analyze/sparsity.hpp"

#include "core/kernels.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <numeric>

namespace kvtape {
namespace {

using Index = Eigen::Index;

constexpr std::size_t word_bits = 64;
constexpr Index tile = word_bits;  ///< tokens compared with as many others at a time
static_assert(tile % Packed::panel_columns == 0);

/// Rows of length one; zeros stay.
Matrix directions(MatrixView rows) {
    std::vector<float> factors(static_cast<std::size_t>(rows.rows()));
    inverse_norms(rows, factors);
    Matrix scaled = rows;
    for (Index row = 0; row < rows.rows(); ++row)
        scaled.row(row) *= factors[static_cast<std::size_t>(row)];
    return scaled;
}

/// A bit for each of a tile's columns from `column` on: whether the two are alike enough to merge.
std::uint64_t alike_in(const float* key_cosines, const float* value_cosines, Index columns) {
    std::array<std::uint8_t, word_bits> flags{};
    for (Index i = 0; i < columns; ++i)
        flags[static_cast<std::size_t>(i)] =
            std::max(0.0f, key_cosines[i]) * std::max(0.0f, value_cosines[i]) >=
            MergePartners::likeness;
    std::uint64_t bits = 0;
    for (std::size_t byte = 0; byte < 8; ++byte) {
        std::uint64_t ones = 0;
        std::memcpy(&ones, flags.data() + 8 * byte, 8);
        // Lands the lowest bit of byte i at bit 56 + i; no two partial products meet.
        bits |= (ones * 0x0102040810204080u >> 56) << 8 * byte;
    }
    return bits;
}

/// The tile that begins at (row, column) of the products.
MergePartners::Tile tile_of(const Matrix& key_cosines,
                            const Matrix& value_cosines,
                            Index row,
                            Index column) {
    const Index rows = std::min<Index>(tile, key_cosines.rows() - row);
    const Index columns = std::min<Index>(tile, key_cosines.cols() - column);
    MergePartners::Tile alike{};
    for (Index i = 0; i < rows; ++i)
        alike[static_cast<std::size_t>(i)] =
            alike_in(&key_cosines(row + i, column), &value_cosines(row + i, column), columns);
    return alike;
}

/// Bit j of word i becomes bit i of word j: halves, then quarters, ... change places across the
/// diagonal.
void transpose(MergePartners::Tile& bits) {
    std::uint64_t low = 0xffff'ffffu;
    for (std::size_t width = 32; width > 0; width /= 2, low ^= low << width)
        for (std::size_t i = 0; i < bits.size(); i = (i + width + 1) & ~width) {
            const std::uint64_t moved = (bits[i] >> width ^ bits[i + width]) & low;
            bits[i] ^= moved << width;
            bits[i + width] ^= moved;
        }
}

}  // namespace

std::optional<double> mass95(std::span<const double> mass) {
    std::vector<double> sorted(mass.begin(), mass.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double whole = std::accumulate(sorted.begin(), sorted.end(), 0.0);
    if (!(whole > 0.0))
        return std::nullopt;
    double held = 0.0;
    std::size_t tokens = 0;
    while (tokens < sorted.size() && held < 0.95 * whole)
        held += sorted[tokens++];
    return static_cast<double>(tokens) / static_cast<double>(sorted.size());
}

MergePartners::MergePartners(MatrixView keys, MatrixView values)
    : words_(static_cast<std::size_t>((keys.rows() + tile - 1) / tile)),
      partners_(static_cast<std::size_t>(keys.rows()) * words_, 0) {
    // Rows in whole blocks of the kernels, products that stay in a core's own cache.
    constexpr Index block = 3 * tile, strip = 2 * tile;
    const Index tokens = keys.rows();
    const Matrix key_directions = directions(keys), value_directions = directions(values);
    const Packed packed_keys = Packed::transposed(view(key_directions));
    const Packed packed_values = Packed::transposed(view(value_directions));
    Matrix key_cosines, value_cosines;
    // Likeness is mutual, so the columns from each block on are enough.
    for (Index row = 0; row < tokens; row += block) {
        const Index rows = std::min(block, tokens - row);
        for (Index column = row; column < tokens; column += strip) {
            const Index columns = std::min(strip, tokens - column);
            key_cosines.resize(rows, columns);
            value_cosines.resize(rows, columns);
            multiply_part(view(key_directions.data() + row * keys.cols(), rows, keys.cols()),
                          packed_keys,
                          column,
                          mutable_view(key_cosines));
            multiply_part(view(value_directions.data() + row * values.cols(), rows, values.cols()),
                          packed_values,
                          column,
                          mutable_view(value_cosines));
            for (Index i = 0; i < rows; i += tile)
                for (Index j = 0; j < columns; j += tile)
                    note(row + i, column + j, tile_of(key_cosines, value_cosines, i, j));
        }
    }
}

void MergePartners::note(Eigen::Index row, Eigen::Index column, Tile alike) {
    const auto first_row = static_cast<std::size_t>(row);
    const auto first_column = static_cast<std::size_t>(column);
    const std::size_t tokens = words_ == 0 ? 0 : partners_.size() / words_;
    if (row == column)
        for (std::size_t i = 0; i < alike.size(); ++i)
            alike[i] &= ~(std::uint64_t{1} << i);
    for (std::size_t i = 0; i < std::min(alike.size(), tokens - first_row); ++i)
        partners_[(first_row + i) * words_ + first_column / word_bits] = alike[i];
    transpose(alike);
    for (std::size_t i = 0; i < std::min(alike.size(), tokens - first_column); ++i)
        partners_[(first_column + i) * words_ + first_row / word_bits] = alike[i];
}

std::optional<double> MergePartners::mergeable(const TokenSet& kept, std::size_t tokens) const {
    const std::span<const std::uint64_t> held = kept.words();
    const auto evicted = tokens - static_cast<std::size_t>(kept.count());
    if (evicted == 0)
        return std::nullopt;
    std::vector<std::uint64_t> reached(held.size(), 0);
    for (std::size_t word = 0; word < held.size(); ++word)
        for (std::uint64_t left = held[word]; left != 0; left &= left - 1) {
            const std::size_t token =
                word * word_bits + static_cast<std::size_t>(std::countr_zero(left));
            const std::uint64_t* partners = partners_.data() + token * words_;
            for (std::size_t i = 0; i < reached.size(); ++i)
                reached[i] |= partners[i];
        }
    for (std::size_t word = 0; word < held.size(); ++word)
        reached[word] &= ~held[word];
    if (tokens % word_bits != 0)
        reached.back() &= (std::uint64_t{1} << tokens % word_bits) - 1;
    std::size_t found = 0;
    for (const std::uint64_t word : reached)
        found += static_cast<std::size_t>(std::popcount(word));
    return static_cast<double>(found) / static_cast<double>(evicted);
}

}  // namespace kvtape
