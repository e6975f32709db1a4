#include "model/cpu/attention.hpp"

#include "core/exp.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"

#include <algorithm>
#include <limits>
#include <vector>

namespace kvtape::model {
namespace {

using Index = Eigen::Index;

constexpr Index tile_rows = 48;
/// Outputs are added up over blocks of keys of this many positions, to keep float sums short.
constexpr Index key_block = 512;
/// Column sums are updated in stretches that stay in the first-level cache.
constexpr Index column_stretch = 2048;
/// Below this many rows, rearranging keys and values costs more than it saves.
constexpr Index fewest_rows_to_pack = 6;

/// Keys and values of one KV head, laid out for products with many rows.
struct PackedHead {
    Packed keys;                 ///< contracts over head_dim
    std::vector<Packed> values;  ///< blocks of `key_block`, contract over positions
};

/// What one query head works on.
class HeadTask {
  public:
    HeadTask(const Attention& attention, Index query_head, const PackedHead* packed)
        : attention_(attention),
          packed_(packed),
          head_(query_head),
          dim_(attention.shape.head_dim) {
        const Index kv_head = query_head / attention.shape.group();
        const Index offset = kv_head * attention.cache.capacity * dim_;
        keys_ = static_cast<const float*>(attention.cache.keys) + offset;
        values_ = static_cast<const float*>(attention.cache.values) + offset;
    }

    void run() {
        const Index rows = attention_.queries.rows;
        for (Index begin = 0; begin < rows; begin += tile_rows)
            run_tile(begin, std::min(tile_rows, rows - begin));
    }

  private:
    /// First and one past the last key that the query at `position` sees.
    Index first_key(Index position) const {
        return attention_.window == 0 ? 0 : std::max<Index>(0, position + 1 - attention_.window);
    }

    void run_tile(Index begin, Index rows) {
        const Index position = attention_.first + begin;
        const Index from = first_key(position) / key_block * key_block;
        const Index visible = position + rows - from;
        weights_.resize(static_cast<std::size_t>(rows * visible));
        scale_queries(begin, rows);
        compute_logits(from, mutable_view(weights_.data(), rows, visible));
        inverse_.resize(static_cast<std::size_t>(rows));
        for (Index row = 0; row < rows; ++row)
            normalise(begin + row,
                      from,
                      std::span(weights_).subspan(static_cast<std::size_t>(row * visible),
                                                  static_cast<std::size_t>(visible)),
                      inverse_[static_cast<std::size_t>(row)]);
        const MatrixView weights = view(weights_.data(), rows, visible);
        add_columns(position, from, weights);
        compute_outputs(begin, from, weights);
    }

    void scale_queries(Index begin, Index rows) {
        const float scale = static_cast<float>(attention_.shape.softmax_scale);
        const float* data = static_cast<const float*>(attention_.queries.data) +
                            begin * attention_.queries.columns + head_ * dim_;
        const MatrixView queries(
            data, rows, dim_, Eigen::OuterStride<>(attention_.queries.columns));
        scaled_ = queries * scale;
    }

    void compute_logits(Index from, MutableMatrixView weights) {
        if (packed_ == nullptr)
            multiply_transposed(
                view(scaled_), view(keys_ + from * dim_, weights.cols(), dim_), weights);
        else
            multiply_part(view(scaled_), packed_->keys, from, weights);
    }

    /// Turns the logits of one row into unnormalised weights, zero outside what it sees.
    void normalise(Index row, Index from, std::span<float> weights, float& inverse) {
        const Index position = attention_.first + row;
        const auto hidden = static_cast<std::size_t>(first_key(position) - from);
        const auto seen = static_cast<std::size_t>(position + 1 - from) - hidden;
        const std::span<float> own = weights.subspan(hidden, seen);
        const float largest = maximum(own);
        const double total = exp_shifted(own, largest);
        std::fill_n(weights.begin(), hidden, 0.0f);
        std::fill(
            weights.begin() + static_cast<std::ptrdiff_t>(hidden + seen), weights.end(), 0.0f);
        inverse = static_cast<float>(1.0 / total);
        attention_.logsumexp[head_ * attention_.queries.rows + row] =
            static_cast<float>(static_cast<double>(largest) + logarithm(total));
    }

    void add_columns(Index position, Index from, MatrixView weights) {
        if (attention_.column_sums == nullptr)
            return;
        float* sums = attention_.column_sums + head_ * attention_.cache.capacity + from;
        const Index counted = std::min(weights.rows(), attention_.column_limit - position);
        for (Index column = 0; column < weights.cols(); column += column_stretch) {
            const Index stretch = std::min(column_stretch, weights.cols() - column);
            for (Index row = 0; row < counted; ++row) {
                const Index seen = std::min(stretch, position + row + 1 - from - column);
                if (seen > 0)
                    add_scaled({weights.data() + row * weights.cols() + column,
                                static_cast<std::size_t>(seen)},
                               inverse_[static_cast<std::size_t>(row)],
                               {sums + column, static_cast<std::size_t>(seen)});
            }
        }
    }

    void compute_outputs(Index begin, Index from, MatrixView weights) {
        outputs_.setZero(weights.rows(), dim_);
        partial_.resize(weights.rows(), dim_);
        for (Index key = from; key < from + weights.cols(); key += key_block) {
            const Index count = std::min(key_block, from + weights.cols() - key);
            const MatrixView block(weights.data() + key - from,
                                   weights.rows(),
                                   count,
                                   Eigen::OuterStride<>(weights.cols()));
            if (packed_ == nullptr)
                weigh_rows(block, key);
            else
                multiply_part(block,
                              packed_->values[static_cast<std::size_t>(key / key_block)],
                              0,
                              mutable_view(partial_));
            outputs_ += partial_;
        }
        float* out = static_cast<float*>(attention_.outputs.data) +
                     begin * attention_.outputs.columns + head_ * dim_;
        for (Index row = 0; row < weights.rows(); ++row)
            for (Index i = 0; i < dim_; ++i)
                out[row * attention_.outputs.columns + i] =
                    outputs_(row, i) * inverse_[static_cast<std::size_t>(row)];
    }

    /// partial = block · values, by the same chains as the packed product.
    void weigh_rows(MatrixView block, Index key) {
        partial_.setZero();
        for (Index row = 0; row < block.rows(); ++row)
            for (Index i = 0; i < block.cols(); ++i)
                add_scaled({values_ + (key + i) * dim_, static_cast<std::size_t>(dim_)},
                           block(row, i),
                           {partial_.data() + row * dim_, static_cast<std::size_t>(dim_)});
    }

    const Attention& attention_;
    const PackedHead* packed_;
    Index head_;
    Index dim_;
    const float* keys_ = nullptr;
    const float* values_ = nullptr;
    Matrix scaled_, outputs_, partial_;
    std::vector<float> weights_, inverse_;
};

PackedHead pack(const Attention& attention, Index kv_head) {
    const Index dim = attention.shape.head_dim;
    const Index entries = attention.first + attention.queries.rows;
    const Index offset = kv_head * attention.cache.capacity * dim;
    const float* keys = static_cast<const float*>(attention.cache.keys) + offset;
    const float* values = static_cast<const float*>(attention.cache.values) + offset;
    PackedHead packed{.keys = Packed::transposed(view(keys, entries, dim)), .values = {}};
    for (Index key = 0; key < entries; key += key_block)
        packed.values.push_back(
            Packed::straight(view(values + key * dim, std::min(key_block, entries - key), dim)));
    return packed;
}

}  // namespace

void attend_cpu(const Attention& attention, int threads) {
    std::vector<PackedHead> packed;
    if (attention.queries.rows >= fewest_rows_to_pack) {
        packed.resize(static_cast<std::size_t>(attention.shape.kv_heads));
        parallel_for(packed.size(), threads, [&](std::size_t head) {
            packed[head] = pack(attention, static_cast<Index>(head));
        });
    }
    const std::int32_t group = attention.shape.group();
    parallel_for(
        static_cast<std::size_t>(attention.shape.query_heads), threads, [&](std::size_t head) {
            const PackedHead* own =
                packed.empty() ? nullptr : &packed[head / static_cast<std::size_t>(group)];
            HeadTask(attention, static_cast<Index>(head), own).run();
        });
}

}  // namespace kvtape::model
