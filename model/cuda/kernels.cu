#include "model/cuda/element.cuh"
#include "model/cuda/geometry.hpp"
#include "model/cuda/kernels.hpp"
#include "model/cuda/launch.cuh"

namespace kvtape::model::cuda {
namespace {

constexpr int block_threads = 256;

__device__ std::int64_t global_index() {
    return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// One thread an element.
Geometry over(std::int64_t count, cudaStream_t stream) {
    return {.grid = {static_cast<unsigned>(ceil_div(count, block_threads)), 1, 1},
            .block = {block_threads, 1, 1},
            .stream = stream};
}

/// One block a row.
Geometry by_row(std::int64_t rows, int threads, cudaStream_t stream) {
    return {.grid = {static_cast<unsigned>(rows), 1, 1},
            .block = {static_cast<unsigned>(threads), 1, 1},
            .stream = stream};
}

template <typename From, typename To>
__global__ void convert_elements(const From* stored, To* out, std::int64_t count) {
    const std::int64_t i = global_index();
    if (i < count)
        out[i] = from_float<To>(to_float(stored[i]));
}

template <typename Element>
__global__ void embed_rows(const std::int32_t* tokens,
                           const Element* table,
                           Element* out,
                           std::int64_t columns) {
    const Element* row = table + tokens[blockIdx.x] * columns;
    for (std::int64_t i = threadIdx.x; i < columns; i += blockDim.x)
        out[blockIdx.x * columns + i] = row[i];
}

/// The sum over a block of `block_threads`, the same bits in every thread: a butterfly over each
/// warp, then the warps in order.
__device__ float block_sum(float x) {
    __shared__ float partial[block_threads / warp_size];
    for (int distance = warp_size / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(~0u, x, distance);
    if (threadIdx.x % warp_size == 0)
        partial[threadIdx.x / warp_size] = x;
    __syncthreads();
    float sum = 0.0f;
    for (const float part : partial)
        sum += part;
    return sum;
}

template <typename Element>
__global__ void __launch_bounds__(block_threads) normalise_rows(
    const Element* x, const Element* weight, Element* out, std::int64_t columns, float epsilon) {
    const std::int64_t row = blockIdx.x * columns;
    float squares = 0.0f;
    for (std::int64_t i = threadIdx.x; i < columns; i += block_threads) {
        const float value = to_float(x[row + i]);
        squares = fmaf(value, value, squares);
    }
    const float mean = block_sum(squares) / static_cast<float>(columns);
    const float factor = 1.0f / sqrtf(mean + epsilon);
    for (std::int64_t i = threadIdx.x; i < columns; i += block_threads)
        out[row + i] = from_float<Element>(to_float(x[row + i]) * factor * to_float(weight[i]));
}

template <typename Element>
__global__ void rotate_rows(Element* x, std::int64_t columns, Rotation rotation) {
    const double position = static_cast<double>(rotation.first) + static_cast<double>(blockIdx.x);
    for (int pair = static_cast<int>(threadIdx.x); pair < rotation.pairs;
         pair += static_cast<int>(blockDim.x)) {
        double sine = 0.0;
        double cosine = 0.0;
        sincos(position * rotation.inverse_frequencies[pair], &sine, &cosine);
        const auto c = static_cast<float>(cosine * rotation.scale);
        const auto s = static_cast<float>(sine * rotation.scale);
        for (std::int64_t head = 0; head < columns; head += rotation.head_dim) {
            Element* first = x + blockIdx.x * columns + head + pair;
            Element* second = first + rotation.pairs;
            const float a = to_float(*first);
            const float b = to_float(*second);
            *first = from_float<Element>(a * c - b * s);
            *second = from_float<Element>(b * c + a * s);
        }
    }
}

template <typename Element>
__global__ void append_rows(const Element* x, std::int64_t count, CacheSide side) {
    const std::int64_t i = global_index();
    if (i >= count)
        return;
    const std::int64_t columns = static_cast<std::int64_t>(side.heads) * side.head_dim;
    const Slot& slot = side.slots.of_head[i % columns / side.head_dim];
    const std::int64_t row = slot.begin + slot.held + i / columns;
    static_cast<Element*>(side.data)[row * side.head_dim + i % side.head_dim] = x[i];
}

__global__ void gather_rows(const std::uint32_t* from,
                            const std::int64_t* rows,
                            std::int64_t count,
                            std::int64_t words,
                            std::uint32_t* to) {
    const std::int64_t i = global_index();
    if (i < count)
        to[i] = from[rows[i / words] * words + i % words];
}

template <typename Element>
__global__ void gate_elements(const Element* gate,
                              const Element* up,
                              Element* out,
                              std::int64_t count) {
    const std::int64_t i = global_index();
    if (i >= count)
        return;
    const float g = to_float(gate[i]);
    out[i] = from_float<Element>(g / (1.0f + expf(-g)) * to_float(up[i]));
}

template <typename Element>
__global__ void add_elements(Element* x, const Element* y, std::int64_t count) {
    const std::int64_t i = global_index();
    if (i < count)
        x[i] = from_float<Element>(to_float(x[i]) + to_float(y[i]));
}

}  // namespace

void convert(ElementType from,
             const void* stored,
             ElementType to,
             void* out,
             std::int64_t count,
             cudaStream_t stream) {
    with_element(from, [&](auto stored_zero) {
        with_element(to, [&](auto zero) {
            using From = decltype(stored_zero);
            using To = decltype(zero);
            launch("convert_elements",
                   over(count, stream),
                   convert_elements<From, To>,
                   static_cast<const From*>(stored),
                   static_cast<To*>(out),
                   count);
        });
    });
}

void embed(ElementType type,
           const std::int32_t* tokens,
           const void* table,
           Elements out,
           cudaStream_t stream) {
    with_element(type, [&](auto zero) {
        using Element = decltype(zero);
        launch("embed_rows",
               by_row(out.rows, block_threads, stream),
               embed_rows<Element>,
               tokens,
               static_cast<const Element*>(table),
               static_cast<Element*>(out.data),
               out.columns);
    });
}

void rms_norm(ElementType type,
              Elements x,
              const void* weight,
              float epsilon,
              void* out,
              cudaStream_t stream) {
    with_element(type, [&](auto zero) {
        using Element = decltype(zero);
        launch("normalise_rows",
               by_row(x.rows, block_threads, stream),
               normalise_rows<Element>,
               static_cast<const Element*>(x.data),
               static_cast<const Element*>(weight),
               static_cast<Element*>(out),
               x.columns,
               epsilon);
    });
}

void rope(ElementType type, Elements x, const Rotation& rotation, cudaStream_t stream) {
    constexpr int threads = 64;
    with_element(type, [&](auto zero) {
        using Element = decltype(zero);
        launch("rotate_rows",
               by_row(x.rows, threads, stream),
               rotate_rows<Element>,
               static_cast<Element*>(x.data),
               x.columns,
               rotation);
    });
}

void append(ElementType type, Elements x, const CacheSide& side, cudaStream_t stream) {
    with_element(type, [&](auto zero) {
        using Element = decltype(zero);
        launch("append_rows",
               over(x.count(), stream),
               append_rows<Element>,
               static_cast<const Element*>(x.data),
               x.count(),
               side);
    });
}

void gather(const void* from,
            const std::int64_t* rows,
            std::int64_t count,
            std::int64_t words,
            void* to,
            cudaStream_t stream) {
    launch("gather_rows",
           over(count * words, stream),
           gather_rows,
           static_cast<const std::uint32_t*>(from),
           rows,
           count * words,
           words,
           static_cast<std::uint32_t*>(to));
}

void swiglu(ElementType type, Elements gate, const void* up, void* out, cudaStream_t stream) {
    with_element(type, [&](auto zero) {
        using Element = decltype(zero);
        launch("gate_elements",
               over(gate.count(), stream),
               gate_elements<Element>,
               static_cast<const Element*>(gate.data),
               static_cast<const Element*>(up),
               static_cast<Element*>(out),
               gate.count());
    });
}

void add(ElementType type, Elements x, const void* y, cudaStream_t stream) {
    with_element(type, [&](auto zero) {
        using Element = decltype(zero);
        launch("add_elements",
               over(x.count(), stream),
               add_elements<Element>,
               static_cast<Element*>(x.data),
               static_cast<const Element*>(y),
               x.count());
    });
}

std::string kernels_unusable() {
    cudaFuncAttributes attributes{};
    const cudaError_t status =
        cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(add_elements<float>));
    if (status == cudaSuccess)
        return {};
    static_cast<void>(cudaGetLastError());
    return std::string(cudaGetErrorName(status)) + " (" + cudaGetErrorString(status) + ")";
}

}  // namespace kvtape::model::cuda
