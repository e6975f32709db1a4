#include "model/cpu/attention.hpp"

#include "core/exp.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"
#include "model/cpu/rows.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace kvtape::model::cpu {
namespace {

/// Entries of the cache that are packed together.
constexpr Position key_block = 128;
/// Probabilities of a block of queries: what stays in the second-level cache.
constexpr std::int64_t probabilities_at_once = 192 * 1024;
constexpr Position most_query_rows = 48;
constexpr Position fewest_query_rows = 12;  ///< and the step: a tile of the AVX-512 kernels
/// Below this many rows, packing the cache would cost more than it saves.
constexpr Position rows_worth_packing = 8;

struct Extent {
    Position begin = 0;
    Position end = 0;
    Position size() const { return end - begin; }
};

/// The entries that the query of entry `entry` may see.
Extent visible(Position entry, Position window) {
    const Position begin = window > 0 && entry >= window ? entry + 1 - window : 0;
    return {begin, entry + 1};
}

class Pass {
  public:
    Pass(ElementType type, const Attention& attention, int threads, AttentionScratch& scratch)
        : type_(type),
          attention_(attention),
          shape_(attention.shape),
          threads_(threads),
          scratch_(scratch) {}

    void run() {
        read_cache();
        parallel_for(static_cast<std::size_t>(shape_.query_heads), threads_, [&](std::size_t head) {
            run_head(static_cast<std::int32_t>(head));
        });
    }

  private:
    static void enlarge(std::vector<float>& memory, std::int64_t size) {
        memory.resize(std::max(memory.size(), static_cast<std::size_t>(size)));
    }

    const CacheSlot& slot(std::size_t kv_head) const { return attention_.cache.slots[kv_head]; }

    /// What the queries see of a KV head, from a whole block on.
    Extent entries(std::size_t kv_head) const {
        const Position held = slot(kv_head).held;
        return {visible(held, attention_.window).begin / key_block * key_block,
                held + static_cast<Position>(attention_.queries.rows)};
    }

    static std::size_t blocks_in(Extent entries) {
        return static_cast<std::size_t>((entries.size() + key_block - 1) / key_block);
    }

    std::size_t block_at(std::size_t kv_head, Position begin) const {
        return static_cast<std::size_t>((begin - entries(kv_head).begin) / key_block);
    }

    bool packs() const { return attention_.queries.rows >= rows_worth_packing; }

    /// The visible entries of every KV head: packed where rows and query heads share them, else as
    /// plain floats.
    void read_cache() {
        scratch_.query_heads.resize(static_cast<std::size_t>(shape_.query_heads));
        if (packs())
            return pack_cache();
        const auto heads = static_cast<std::size_t>(shape_.kv_heads);
        for (std::size_t head = 0; head < heads; ++head) {
            const Extent seen = entries(head);
            const std::int64_t first = (slot(head).begin + seen.begin) * shape_.head_dim;
            const std::int64_t count = std::int64_t{seen.size()} * shape_.head_dim;
            keys_.emplace_back(type_, element(type_, attention_.cache.keys, first), count);
            values_.emplace_back(type_, element(type_, attention_.cache.values, first), count);
        }
    }

    void pack_cache() {
        const std::int64_t dim = shape_.head_dim;
        const auto heads = static_cast<std::size_t>(shape_.kv_heads);
        std::size_t blocks = 0;
        for (std::size_t head = 0; head < heads; ++head)
            blocks = std::max(blocks, blocks_in(entries(head)));
        scratch_.kv_heads.resize(heads);
        for (AttentionScratch::KvHead& head : scratch_.kv_heads) {
            head.keys.resize(std::max(blocks, head.keys.size()));
            head.values.resize(std::max(blocks, head.values.size()));
        }
        parallel_for(heads * blocks, threads_, [&](std::size_t item) {
            const std::size_t head = item / blocks, block = item % blocks;
            const auto begin = static_cast<Position>(block) * key_block;
            const Position count = std::min(key_block, entries(head).size() - begin);
            if (count <= 0)
                return;
            const std::int64_t first = (slot(head).begin + entries(head).begin + begin) * dim;
            const Floats keys(type_, element(type_, attention_.cache.keys, first), count * dim);
            const Floats values(type_, element(type_, attention_.cache.values, first), count * dim);
            AttentionScratch::KvHead& packed = scratch_.kv_heads[head];
            packed.keys[block].assign_transposed(view(keys.data(), count, dim));
            packed.values[block].assign_straight(view(values.data(), count, dim));
        });
    }

    std::size_t kv_head_of(std::int32_t head) const {
        return static_cast<std::size_t>(head / shape_.group());
    }

    void run_head(std::int32_t head) {
        // The odd number of vectors keeps rows from meeting in the same cache sets.
        const Extent all = entries(kv_head_of(head));
        const auto stride = static_cast<std::int64_t>(blocks_in(all)) * key_block + 16;
        const auto rows = static_cast<Position>(attention_.queries.rows);
        const auto height = static_cast<Position>(std::clamp<std::int64_t>(
            probabilities_at_once / stride / fewest_query_rows * fewest_query_rows,
            fewest_query_rows,
            most_query_rows));
        auto& [queries, probabilities, sums] = scratch_.query_heads[static_cast<std::size_t>(head)];
        enlarge(queries, height * shape_.head_dim);
        enlarge(sums, height * shape_.head_dim);
        enlarge(probabilities, std::min(height, rows) * stride);
        for (Position row = 0; row < rows; row += height)
            run_block(head,
                      {row, std::min(rows, row + height)},
                      queries.data(),
                      sums.data(),
                      {probabilities.data(),
                       std::min(height, rows),
                       stride,
                       Eigen::OuterStride<>(stride)});
    }

    /// Queries `rows` of one head, through all three steps.
    void run_block(
        std::int32_t head, Extent rows, float* queries, float* sums, MutableMatrixView scores) {
        const std::int64_t dim = shape_.head_dim;
        const auto scale = static_cast<float>(shape_.softmax_scale);
        for (Position row = rows.begin; row < rows.end; ++row) {
            const Floats from(type_, at(attention_.queries, row, head), dim);
            for (std::int64_t i = 0; i < dim; ++i)
                queries[(row - rows.begin) * dim + i] = from.data()[i] * scale;
        }
        const std::size_t kv_head = kv_head_of(head);
        const Position held = slot(kv_head).held;
        const Extent seen{
            visible(held + rows.begin, attention_.window).begin / key_block * key_block,
            held + rows.end};
        multiply_keys(kv_head, view(queries, rows.size(), dim), seen, scores);
        float inverse_sums[most_query_rows];
        for (Position row = rows.begin; row < rows.end; ++row)
            inverse_sums[row - rows.begin] =
                normalise(head, row, seen, scores.row(row - rows.begin).data());
        multiply_values(kv_head, seen, scores, mutable_view(sums, rows.size(), dim));
        for (Position row = rows.begin; row < rows.end; ++row) {
            Results out(type_, at(attention_.outputs, row, head), dim);
            for (std::int64_t i = 0; i < dim; ++i)
                out.data()[i] = sums[(row - rows.begin) * dim + i] * inverse_sums[row - rows.begin];
            out.store();
        }
    }

    /// The channels of one head in one row.
    void* at(const Activations& x, Position row, std::int32_t head) const {
        return element(type_, x.data, row * x.columns + head * shape_.head_dim);
    }

    MutableMatrixView block_of(MutableMatrixView scores,
                               Position rows,
                               Position begin,
                               Position n) {
        return {scores.data() + begin, rows, n, Eigen::OuterStride<>(scores.outerStride())};
    }

    /// scores[:, j] = queries · key(seen.begin + j).
    void multiply_keys(std::size_t kv_head,
                       MatrixView queries,
                       Extent seen,
                       MutableMatrixView scores) {
        const auto rows = static_cast<Position>(queries.rows());
        const std::int64_t dim = shape_.head_dim;
        if (!packs())
            return multiply_transposed(
                queries,
                view(keys_[kv_head].data() + (seen.begin - entries(kv_head).begin) * dim,
                     seen.size(),
                     dim),
                block_of(scores, rows, 0, seen.size()));
        for (Position begin = seen.begin; begin < seen.end; begin += key_block) {
            const Packed& keys = scratch_.kv_heads[kv_head].keys[block_at(kv_head, begin)];
            multiply(
                queries,
                keys,
                block_of(scores, rows, begin - seen.begin, static_cast<Position>(keys.columns())));
        }
    }

    /// Turns the logits of one query into e^(logit - largest), zero where it may not look; writes
    /// its log-sum-exp and column sums; returns 1 / sum.
    float normalise(std::int32_t head, Position row, Extent seen, float* scores) {
        const CacheSlot& slot = this->slot(kv_head_of(head));
        const Extent own = visible(slot.held + row, attention_.window);
        const auto size = static_cast<std::size_t>(own.size());
        const std::span<float> logits(scores + (own.begin - seen.begin), size);
        const float largest = maximum(logits);
        const double sum = exp_shifted(logits, largest);
        std::fill(scores, logits.data(), 0.0f);
        std::fill(logits.data() + size, scores + seen.size(), 0.0f);
        attention_.logsumexp[head * attention_.queries.rows + row] =
            static_cast<float>(static_cast<double>(largest) + logarithm(sum));
        const auto inverse = static_cast<float>(1.0 / sum);
        if (attention_.column_sums != nullptr && attention_.first + row < attention_.column_limit) {
            const std::int64_t line =
                shape_.group() * slot.begin + head % shape_.group() * slot.capacity;
            add_scaled(logits, inverse, {attention_.column_sums + line + own.begin, size});
        }
        return inverse;
    }

    /// out = scores · values, not yet divided by the sums.
    void multiply_values(std::size_t kv_head,
                         Extent seen,
                         MutableMatrixView scores,
                         MutableMatrixView out) {
        const std::int64_t dim = shape_.head_dim;
        const auto rows = static_cast<Position>(out.rows());
        if (!packs()) {
            const float* values =
                values_[kv_head].data() + (seen.begin - entries(kv_head).begin) * dim;
            for (Position row = 0; row < rows; ++row) {
                const std::span<float> sums(out.row(row).data(), static_cast<std::size_t>(dim));
                std::fill(sums.begin(), sums.end(), 0.0f);
                for (Position j = 0; j < seen.size(); ++j)
                    add_scaled({values + j * dim, sums.size()}, scores(row, j), sums);
            }
            return;
        }
        for (Position begin = seen.begin; begin < seen.end; begin += key_block) {
            const Packed& values = scratch_.kv_heads[kv_head].values[block_at(kv_head, begin)];
            const auto depth = static_cast<Position>(values.depth());
            // The last block may hold entries after those seen by this block of queries.
            if (const Position hidden = begin + depth - seen.end; hidden > 0)
                block_of(scores, rows, seen.size(), hidden).setZero();
            const MutableMatrixView weights = block_of(scores, rows, begin - seen.begin, depth);
            const MatrixView known(
                weights.data(), weights.rows(), weights.cols(), weights.outerStride());
            if (begin == seen.begin)
                multiply(known, values, out);
            else
                multiply_add(known, values, out);
        }
    }

    ElementType type_;
    const Attention& attention_;
    const Shape& shape_;
    int threads_;
    AttentionScratch& scratch_;
    std::vector<Floats> keys_;
    std::vector<Floats> values_;
};

}  // namespace

void attend(ElementType type, const Attention& attention, int threads, AttentionScratch& scratch) {
    Pass(type, attention, threads, scratch).run();
}

void attend(ElementType type, const Attention& attention, int threads) {
    AttentionScratch scratch;
    attend(type, attention, threads, scratch);
}

}  // namespace kvtape::model::cpu
