#include "analyze/sparsity.hpp"

#include "core/kernels.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace kvtape {
namespace {

using Index = Eigen::Index;

/// Rows of length one; zeros stay.
Matrix directions(MatrixView rows) {
    std::vector<float> factors(static_cast<std::size_t>(rows.rows()));
    inverse_norms(rows, factors);
    Matrix scaled = rows;
    for (Index row = 0; row < rows.rows(); ++row)
        scaled.row(row) *= factors[static_cast<std::size_t>(row)];
    return scaled;
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
    : words_(static_cast<std::size_t>((keys.rows() + 63) / 64)),
      partners_(static_cast<std::size_t>(keys.rows()) * words_, 0) {
    constexpr Index block = 64;  // a multiple of Packed::panel_columns
    const Index tokens = keys.rows();
    const Matrix key_directions = directions(keys), value_directions = directions(values);
    const Packed packed_keys = Packed::transposed(view(key_directions));
    const Packed packed_values = Packed::transposed(view(value_directions));
    Matrix key_cosines, value_cosines;
    // Likeness is mutual, so the columns from each block on are enough.
    for (Index begin = 0; begin < tokens; begin += block) {
        const Index rows = std::min(block, tokens - begin), columns = tokens - begin;
        key_cosines.resize(rows, columns);
        value_cosines.resize(rows, columns);
        multiply_part(view(key_directions.data() + begin * keys.cols(), rows, keys.cols()),
                      packed_keys,
                      begin,
                      mutable_view(key_cosines));
        multiply_part(view(value_directions.data() + begin * values.cols(), rows, values.cols()),
                      packed_values,
                      begin,
                      mutable_view(value_cosines));
        for (Index row = 0; row < rows; ++row)
            for (Index column = row + 1; column < columns; ++column) {
                const float alike = std::max(0.0f, key_cosines(row, column)) *
                                    std::max(0.0f, value_cosines(row, column));
                if (alike < likeness)
                    continue;
                const auto a = static_cast<std::size_t>(begin + row);
                const auto b = static_cast<std::size_t>(begin + column);
                partners_[a * words_ + b / 64] |= std::uint64_t{1} << b % 64;
                partners_[b * words_ + a / 64] |= std::uint64_t{1} << a % 64;
            }
    }
}

std::optional<double> MergePartners::mergeable(const TokenSet& kept, std::size_t tokens) const {
    std::size_t evicted = 0, found = 0;
    const std::span<const std::uint64_t> held = kept.words();
    for (std::size_t t = 0; t < tokens; ++t) {
        if ((held[t / 64] >> t % 64 & 1) != 0)
            continue;
        ++evicted;
        const std::uint64_t* partners = partners_.data() + t * words_;
        bool any = false;
        for (std::size_t word = 0; word < held.size() && !any; ++word)
            any = (partners[word] & held[word]) != 0;
        found += any ? 1 : 0;
    }
    if (evicted == 0)
        return std::nullopt;
    return static_cast<double>(found) / static_cast<double>(evicted);
}

}  // namespace kvtape
