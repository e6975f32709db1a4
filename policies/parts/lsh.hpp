#pragma once

#include "core/philox.hpp"
#include "core/types.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// Independent standard normal numbers, row-major: elements 4i .. 4i + 3 come from block i of
/// `random`, two at a time by the Box-Muller transform in double precision.
Matrix gaussian_matrix(Eigen::Index rows, Eigen::Index columns, const Philox& random);

/// How candidates are ranked by the buckets they share with the question.
enum class LshRank {
    /// Those that share at least two tables with the question, by the bits they have in common with
    /// the token of it that is nearest; then the latest.
    magicpig_baseline,
    frequency_rank,  ///< tables shared with any question token, then distance
    mean_collision,  ///< buckets shared, over all tables and question tokens
};

/// What breaks the ties of `frequency_rank`: the distance to ...
enum class LshTie {
    l2,                    ///< the mean of the question
    max_sim,               ///< the nearest question token
    mahalanobis,           ///< the mean, in units of the deviation of each channel
    partitioned_centroid,  ///< the nearest of up to 8 means of consecutive question tokens
    none,                  ///< nothing: earlier candidates first
};

struct LshSettings {
    std::int32_t bits = 10;
    std::int32_t tables = 8;
    LshRank rank = LshRank::magicpig_baseline;
    LshTie tie = LshTie::l2;
};

/// Signs of random projections, `bits` for each of `tables`, packed: of a row x, bit l * bits + k
/// is set where x · projection column (l * bits + k) is above zero.
class SignHashes {
  public:
    /// `rows` [n, d], `projection` [d, tables * bits]; bits at most 30.
    SignHashes(MatrixView rows, MatrixView projection, std::int32_t bits);

    Eigen::Index rows() const { return rows_; }
    std::int32_t tables() const { return tables_; }
    std::int32_t all_bits() const { return tables_ * bits_; }
    /// The bucket of a row in a table.
    std::uint32_t bucket(Eigen::Index row, std::int32_t table) const {
        return buckets_[static_cast<std::size_t>(row * tables_ + table)];
    }
    /// All its bits, 64 to a word; what is left of the last is 0.
    std::span<const std::uint64_t> words(Eigen::Index row) const {
        return std::span(words_).subspan(static_cast<std::size_t>(row) * words_per_row_,
                                         words_per_row_);
    }

  private:
    void pack(std::span<const float> projected, Eigen::Index row);

    Eigen::Index rows_;
    std::int32_t bits_, tables_;
    std::size_t words_per_row_;
    std::vector<std::uint32_t> buckets_;
    std::vector<std::uint64_t> words_;
};

/// Of each row of `candidates`, the most bits it has in common with any row of `question`.
std::vector<std::int32_t> most_equal_bits(const SignHashes& candidates, const SignHashes& question);
/// Of each row of `candidates`, in how many tables it shares its bucket with any row of `question`.
std::vector<std::int32_t> shared_tables(const SignHashes& candidates, const SignHashes& question);

/// The best `count` rows of `candidates` [n, d], ascending, by how they hash beside `question`
/// [m, d], m > 0. Both are centred by the mean of the candidates first. Equal ones: the earlier.
std::vector<Position> lsh_select(MatrixView candidates,
                                 MatrixView question,
                                 MatrixView projection,
                                 const LshSettings& settings,
                                 Position count);

}  // namespace kvtape
