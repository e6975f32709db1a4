#pragma once

#include "model/cuda/geometry.hpp"
#include "model/cuda/tile.cuh"

#include <cstdint>

namespace kvtape::model::cuda {

/// Of a block of the attention kernels.
inline constexpr int threads = warps * warp_size;
inline constexpr float infinity = __builtin_huge_valf();

/// e^x with a relative error below (|x| + 4) / 2^24; 0 for -inf.
__device__ inline float exponential(float x) {
    return exp2f(x * 1.4426950408889634f);
}

/// The sum, or the maximum, over the four lanes that share the rows of a fragment. Every lane gets
/// the same bits.
__device__ inline float quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}
__device__ inline float quad_maximum(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

/// Copies `valid` rows of `head_dim` elements into a tile of `rows` rows and fills it with zeros:
/// what lies beyond is not ours and may hold NaN.
template <typename Element, int Dim>
__device__ void load_tile(Element* tile,
                          const Element* source,
                          std::int64_t source_stride,
                          int rows,
                          int valid,
                          int head_dim) {
    constexpr int width = sizeof(uint4) / sizeof(Element);
    constexpr int vectors = Dim / width;
    for (int index = static_cast<int>(threadIdx.x); index < rows * vectors; index += threads) {
        const int row = index / vectors;
        const int column = index % vectors * width;
        uint4 vector = {0, 0, 0, 0};
        if (row < valid && column < head_dim)
            vector = *reinterpret_cast<const uint4*>(source + row * source_stride + column);
        *reinterpret_cast<uint4*>(tile + row * Tile<Element, Dim>::stride + column) = vector;
    }
}

}  // namespace kvtape::model::cuda
