#include "model/cuda/attention.hpp"
#include "model/cuda/attention_tile.cuh"
#include "model/cuda/geometry.hpp"
#include "model/cuda/launch.cuh"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

namespace kvtape::model::cuda {
namespace {

/// The softmax of the two rows that a lane shares, as far as it has come.
struct Running {
    float maximum[2] = {-infinity, -infinity};
    float total[2] = {0.0f, 0.0f};  ///< this lane's share of the sum
};

/// Turns the scores of one tile of keys into weights e^(score - maximum so far) and rescales what
/// was summed under a smaller maximum.
template <int Tiles, int Columns>
__device__ void soften(float (&scores)[Tiles][4],
                       float (&outputs)[Columns][4],
                       Running& running,
                       const AttentionArguments& a,
                       int query,
                       int key) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int position = query + fragment_row(lane, half * 2);
        float maximum = running.maximum[half];
#pragma unroll
        for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
            for (int element = half * 2; element < half * 2 + 2; ++element) {
                const int column = key + tile * 8 + fragment_column(lane, element);
                scores[tile][element] = attends(position, column, a.window)
                                            ? scores[tile][element] * a.scale
                                            : -infinity;
                maximum = fmaxf(maximum, scores[tile][element]);
            }
        maximum = quad_maximum(maximum);
        // A row may attend nothing yet (window); -inf minus -inf would be NaN.
        const float base = maximum == -infinity ? 0.0f : maximum;
        const float shrink = exponential(running.maximum[half] - base);
        running.maximum[half] = maximum;
        running.total[half] *= shrink;
#pragma unroll
        for (int column = 0; column < Columns; ++column) {
            outputs[column][half * 2] *= shrink;
            outputs[column][half * 2 + 1] *= shrink;
        }
#pragma unroll
        for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
            for (int element = half * 2; element < half * 2 + 2; ++element) {
                scores[tile][element] = exponential(scores[tile][element] - base);
                running.total[half] += scores[tile][element];
            }
    }
}

template <typename Element, int Columns>
__device__ void write_rows(const float (&outputs)[Columns][4],
                           const Running& running,
                           const AttentionArguments& a,
                           int head,
                           int first_row) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    const std::int64_t row_stride = static_cast<std::int64_t>(a.query_heads) * a.head_dim;
    const float totals[2] = {quad_sum(running.total[0]), quad_sum(running.total[1])};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first_row + fragment_row(lane, half * 2);
        if (row >= a.rows)
            continue;
        Element* out = static_cast<Element*>(a.outputs) + row * row_stride +
                       static_cast<std::int64_t>(head) * a.head_dim;
#pragma unroll
        for (int column = 0; column < Columns; ++column)
            if (column * 8 < a.head_dim)
                for (int element = half * 2; element < half * 2 + 2; ++element)
                    out[column * 8 + fragment_column(lane, element)] =
                        from_float<Element>(outputs[column][element] / totals[half]);
        if (lane % 4 == 0)
            a.logsumexp[static_cast<std::int64_t>(head) * a.rows + row] =
                running.maximum[half] + logf(totals[half]);
    }
}

/// One block: 64 queries of one head, 16 to a warp; keys and values stream past in tiles.
template <typename Element, int Dim>
__global__ void __launch_bounds__(threads) attend_rows(AttentionArguments a) {
    using Product = Tile<Element, Dim>;
    constexpr int tile_keys = Product::streamed_rows;
    extern __shared__ uint4 shared[];
    Element* query_tile = reinterpret_cast<Element*>(shared);
    Element* key_tile = query_tile + block_rows * Product::stride;
    Element* value_tile = key_tile + tile_keys * Product::stride;

    const int head = static_cast<int>(blockIdx.y);
    const int warp = static_cast<int>(threadIdx.x) / warp_size;
    // The last queries have the most keys: they start first.
    const int block_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * block_rows;
    const int valid = min(block_rows, a.rows - block_row);
    const Slot& slot = a.slots.of_head[head / a.group];
    const int end = slot.held + block_row + valid;

    const std::int64_t row_stride = static_cast<std::int64_t>(a.query_heads) * a.head_dim;
    const std::int64_t cache = slot.begin * a.head_dim;
    const Element* queries = static_cast<const Element*>(a.queries) + block_row * row_stride +
                             static_cast<std::int64_t>(head) * a.head_dim;
    const Element* keys = static_cast<const Element*>(a.keys) + cache;
    const Element* values = static_cast<const Element*>(a.values) + cache;
    load_tile<Element, Dim>(query_tile, queries, row_stride, block_rows, valid, a.head_dim);

    float outputs[Dim / 8][4] = {};
    Running running;
    const int warp_row = block_row + warp * warp_rows;
    for (int key = floor_to(first_key(slot.held + block_row, a.window), tile_keys); key < end;
         key += tile_keys) {
        const std::int64_t offset = static_cast<std::int64_t>(key) * a.head_dim;
        const int present = min(tile_keys, end - key);
        __syncthreads();  // every warp is done with the tiles before
        load_tile<Element, Dim>(
            key_tile, keys + offset, a.head_dim, tile_keys, present, a.head_dim);
        load_tile<Element, Dim>(
            value_tile, values + offset, a.head_dim, tile_keys, present, a.head_dim);
        __syncthreads();
        float scores[tile_keys / 8][4];
        Product::template dot_rows<tile_keys>(
            query_tile + warp * warp_rows * Product::stride, key_tile, scores);
        soften(scores, outputs, running, a, slot.held + warp_row, key);
        Product::template add_product<tile_keys>(scores, value_tile, outputs);
    }
    write_rows<Element>(outputs, running, a, head, warp_row);
}

/// Rows whose probabilities are added to the columns.
__host__ __device__ int counted_rows(const AttentionArguments& a) {
    const int below = a.column_limit - a.first;
    return below < a.rows ? below : a.rows;
}

/// One block: 64 keys of one query head, 16 to a warp; queries stream past in tiles. Each lane
/// keeps the sums of two keys over its quarter of the queries.
template <typename Element, int Dim>
__global__ void __launch_bounds__(threads) sum_columns(AttentionArguments a) {
    using Product = Tile<Element, Dim>;
    constexpr int tile_queries = Product::streamed_rows;
    extern __shared__ uint4 shared[];
    Element* key_tile = reinterpret_cast<Element*>(shared);
    Element* query_tile = key_tile + block_rows * Product::stride;
    float* logsumexp_tile = reinterpret_cast<float*>(query_tile + tile_queries * Product::stride);

    const int head = static_cast<int>(blockIdx.y);
    const int warp = static_cast<int>(threadIdx.x) / warp_size;
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    const Slot& slot = a.slots.of_head[head / a.group];
    const int end = slot.held + counted_rows(a);
    const int block_key = static_cast<int>(blockIdx.x) * block_rows;
    if (block_key >= end)
        return;
    const int warp_key = block_key + warp * warp_rows;

    const std::int64_t row_stride = static_cast<std::int64_t>(a.query_heads) * a.head_dim;
    const Element* queries =
        static_cast<const Element*>(a.queries) + static_cast<std::int64_t>(head) * a.head_dim;
    const Element* keys =
        static_cast<const Element*>(a.keys) + (slot.begin + block_key) * a.head_dim;
    const float* logsumexp = a.logsumexp + static_cast<std::int64_t>(head) * a.rows;
    load_tile<Element, Dim>(
        key_tile, keys, a.head_dim, block_rows, min(block_rows, end - block_key), a.head_dim);

    float sums[2] = {0.0f, 0.0f};
    const int row_end = query_end(block_key + block_rows - 1, a.window, end) - slot.held;
    for (int row = floor_to(max(0, block_key - slot.held), tile_queries); row < row_end;
         row += tile_queries) {
        const int present = min(tile_queries, end - slot.held - row);
        __syncthreads();  // every warp is done with the tiles before
        load_tile<Element, Dim>(
            query_tile, queries + row * row_stride, row_stride, tile_queries, present, a.head_dim);
        if (static_cast<int>(threadIdx.x) < present)
            logsumexp_tile[threadIdx.x] = logsumexp[row + static_cast<int>(threadIdx.x)];
        __syncthreads();
        float scores[tile_queries / 8][4];
        Product::template dot_rows<tile_queries>(
            key_tile + warp * warp_rows * Product::stride, query_tile, scores);
#pragma unroll
        for (int tile = 0; tile < tile_queries / 8; ++tile)
#pragma unroll
            for (int element = 0; element < 4; ++element) {
                const int column = tile * 8 + fragment_column(lane, element);
                const int key = warp_key + fragment_row(lane, element);
                if (column < present && attends(slot.held + row + column, key, a.window))
                    sums[element / 2] +=
                        exponential(scores[tile][element] * a.scale - logsumexp_tile[column]);
            }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float sum = quad_sum(sums[half]);
        const int key = warp_key + fragment_row(lane, half * 2);
        const std::int64_t line = a.group * slot.begin + head % a.group * slot.capacity;
        if (lane % 4 == 0 && key < end)
            a.column_sums[line + key] += sum;
    }
}

/// Calls `body(zero, dim)` with a zero of the element type and the padded head size as a constant.
template <typename Body>
void with_tile(ElementType type, int head_dim, const Body& body) {
    with_element(type, [&](auto zero) {
        switch (padded_head_dim(head_dim)) {
            case 32:
                return body(zero, std::integral_constant<int, 32>{});
            case 64:
                return body(zero, std::integral_constant<int, 64>{});
            case 128:
                return body(zero, std::integral_constant<int, 128>{});
            default:
                return body(zero, std::integral_constant<int, 256>{});
        }
    });
}

/// More than 48 KiB of shared memory must be asked for.
void run(std::string_view name,
         void (*kernel)(AttentionArguments),
         const Geometry& geometry,
         const AttentionArguments& arguments) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(geometry.shared)),
          "asking for " + std::to_string(geometry.shared) + " bytes of shared memory");
    launch(name, geometry, kernel, arguments);
}

dim3 grid_of(std::int64_t rows, std::int32_t heads) {
    return {static_cast<unsigned>(ceil_div(rows, block_rows)), static_cast<unsigned>(heads), 1};
}

}  // namespace

void attend(ElementType type, const AttentionArguments& arguments, cudaStream_t stream) {
    with_tile(type, arguments.head_dim, [&](auto zero, auto dim) {
        using Element = decltype(zero);
        using Product = Tile<Element, dim()>;
        constexpr std::size_t rows = block_rows + 2 * Product::streamed_rows;
        run("attend_rows",
            attend_rows<Element, dim()>,
            {.grid = grid_of(arguments.rows, arguments.query_heads),
             .block = {threads, 1, 1},
             .shared = rows * Product::stride * sizeof(Element),
             .stream = stream},
            arguments);
    });
}

void add_column_sums(ElementType type, const AttentionArguments& arguments, cudaStream_t stream) {
    const int counted = counted_rows(arguments);
    if (counted <= 0)
        return;
    std::int32_t end = 0;
    for (int head = 0; head < arguments.query_heads / arguments.group; ++head)
        end = std::max(end, arguments.slots.of_head[head].held + counted);
    with_tile(type, arguments.head_dim, [&](auto zero, auto dim) {
        using Element = decltype(zero);
        using Product = Tile<Element, dim()>;
        constexpr std::size_t rows = block_rows + Product::streamed_rows;
        run("sum_columns",
            sum_columns<Element, dim()>,
            {.grid = grid_of(end, arguments.query_heads),
             .block = {threads, 1, 1},
             .shared =
                 rows * Product::stride * sizeof(Element) + Product::streamed_rows * sizeof(float),
             .stream = stream},
            arguments);
    });
}

}  // namespace kvtape::model::cuda
