#include "model/cpu/linear.hpp"

#include "core/half.hpp"
#include "core/parallel.hpp"
#include "model/cpu/rows.hpp"

#include <algorithm>

namespace kvtape::model::cpu {
namespace {

/// Rows that are multiplied together: enough to use each panel well, few enough to stay in
/// cache; a multiple of the kernels' own tiles.
constexpr std::int64_t tile_rows = 120;

}  // namespace

CpuWeight::CpuWeight(std::span<const std::byte> stored,
                     ElementType type,
                     std::int64_t weight_rows,
                     std::int64_t weight_columns)
    : stored_(stored),
      type_(type) {
    rows = weight_rows;
    columns = weight_columns;
    if (rows == 1) {
        vector_.resize(static_cast<std::size_t>(columns));
        read_row(0, vector_);
    }
}

void CpuWeight::read_row(std::int64_t row, std::span<float> out) const {
    const auto bytes = static_cast<std::size_t>(columns * bytes_of(type_));
    decode(type_, stored_.subspan(static_cast<std::size_t>(row) * bytes, bytes), out);
}

const std::vector<Packed>& CpuWeight::blocks(int threads) const {
    if (!blocks_.empty())
        return blocks_;
    blocks_.resize(static_cast<std::size_t>((rows + block_columns - 1) / block_columns));
    parallel_for(blocks_.size(), threads, [&](std::size_t block) {
        const std::int64_t first = static_cast<std::int64_t>(block) * block_columns;
        const std::int64_t count = std::min(block_columns, rows - first);
        std::vector<float> values(static_cast<std::size_t>(count * columns));
        for (std::int64_t i = 0; i < count; ++i)
            read_row(first + i, {values.data() + i * columns, static_cast<std::size_t>(columns)});
        blocks_[block] = Packed::transposed(view(values.data(), count, columns));
    });
    return blocks_;
}

void linear(ElementType type,
            Activations x,
            const CpuWeight& weight,
            std::span<const float> bias,
            Activations out,
            int threads) {
    const std::vector<Packed>& blocks = weight.blocks(threads);
    const auto block_count = static_cast<std::int64_t>(blocks.size());
    const std::int64_t tiles = (x.rows + tile_rows - 1) / tile_rows;
    const Floats inputs(type, x.data, x.rows * x.columns);
    Results outputs(type, out.data, out.rows * out.columns);
    parallel_for(static_cast<std::size_t>(tiles * block_count), threads, [&](std::size_t item) {
        const std::int64_t block = static_cast<std::int64_t>(item) % block_count;
        const std::int64_t row = static_cast<std::int64_t>(item) / block_count * tile_rows;
        const std::int64_t rows = std::min(tile_rows, x.rows - row);
        const Packed& panels = blocks[static_cast<std::size_t>(block)];
        const std::int64_t column = block * CpuWeight::block_columns;
        MutableMatrixView result(outputs.data() + row * out.columns + column,
                                 rows,
                                 panels.columns(),
                                 Eigen::OuterStride<>(out.columns));
        multiply(view(inputs.data() + row * x.columns, rows, x.columns), panels, result);
        if (!bias.empty())
            result.rowwise() +=
                Eigen::Map<const Eigen::RowVectorXf>(bias.data() + column, panels.columns());
    });
    outputs.store();
}

}  // namespace kvtape::model::cpu
