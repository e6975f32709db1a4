#pragma once

#include "model/cuda/geometry.hpp"
#include "model/cuda/mma.cuh"

#include <cstdint>

namespace kvtape::model::cuda {

/// Products of one warp on tiles in shared memory. A tile holds rows of `Dim` elements, `stride`
/// apart, which puts eight successive rows into different banks. Results are 16 x 8 fragments; see
/// fragment_row and fragment_column. 16-bit elements go through the tensor cores.
template <typename Element, int Dim>
struct Tile {
    static constexpr int stride = Dim + 8;
    /// Rows that are streamed past the block's own rows.
    static constexpr int streamed_rows = 64;

    /// scores = a (16 rows) · bᵀ (Rows rows).
    template <int Rows>
    static __device__ void dot_rows(const Element* a,
                                    const Element* b,
                                    float (&scores)[Rows / 8][4]) {
        const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
        for (int row = 0; row < Rows / 8; ++row)
            for (int element = 0; element < 4; ++element)
                scores[row][element] = 0.0f;
#pragma unroll
        for (int depth = 0; depth < Dim; depth += 16) {
            std::uint32_t left[4];
            load_matrices(left, a + lane % 16 * stride + depth + lane / 16 * 8);
#pragma unroll
            for (int row = 0; row < Rows; row += 16) {
                std::uint32_t right[4];
                load_matrices(
                    right,
                    b + (row + lane / 16 * 8 + lane % 8) * stride + depth + lane / 8 % 2 * 8);
                multiply_add<Element>(scores[row / 8], left, right[0], right[1]);
                multiply_add<Element>(scores[row / 8 + 1], left, right[2], right[3]);
            }
        }
    }

    /// outputs += weights [16 x Rows] · values (Rows rows). Weights are rounded to elements.
    template <int Rows>
    static __device__ void add_product(const float (&weights)[Rows / 8][4],
                                       const Element* values,
                                       float (&outputs)[Dim / 8][4]) {
        const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
        for (int row = 0; row < Rows; row += 16) {
            // The result layout of two neighbouring tiles is the left operand's layout of one.
            const float(&near)[4] = weights[row / 8];
            const float(&far)[4] = weights[row / 8 + 1];
            const std::uint32_t left[4] = {pack<Element>(near[0], near[1]),
                                           pack<Element>(near[2], near[3]),
                                           pack<Element>(far[0], far[1]),
                                           pack<Element>(far[2], far[3])};
#pragma unroll
            for (int column = 0; column < Dim; column += 16) {
                std::uint32_t right[4];
                load_transposed(right,
                                values + (row + lane % 16) * stride + column + lane / 16 * 8);
                multiply_add<Element>(outputs[column / 8], left, right[0], right[1]);
                multiply_add<Element>(outputs[column / 8 + 1], left, right[2], right[3]);
            }
        }
    }
};

/// float32 runs on fused multiply-adds: the tensor cores would round its inputs.
template <int Dim>
struct Tile<float, Dim> {
    static constexpr int stride = Dim + 4;
    static constexpr int streamed_rows = 32;

    template <int Rows>
    static __device__ void dot_rows(const float* a, const float* b, float (&scores)[Rows / 8][4]) {
        const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
        for (int row = 0; row < Rows / 8; ++row)
            for (int element = 0; element < 4; ++element)
                scores[row][element] = 0.0f;
#pragma unroll 2
        for (int depth = 0; depth < Dim; depth += 4) {
            const float4 left[2] = {vector_at(a + fragment_row(lane, 0) * stride + depth),
                                    vector_at(a + fragment_row(lane, 2) * stride + depth)};
#pragma unroll
            for (int row = 0; row < Rows / 8; ++row)
#pragma unroll
                for (int element = 0; element < 4; ++element)
                    scores[row][element] = dot(
                        left[element / 2],
                        vector_at(b + (row * 8 + fragment_column(lane, element)) * stride + depth),
                        scores[row][element]);
        }
    }

    template <int Rows>
    static __device__ void add_product(const float (&weights)[Rows / 8][4],
                                       const float* values,
                                       float (&outputs)[Dim / 8][4]) {
        const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
        for (int row = 0; row < Rows / 8; ++row)
#pragma unroll 1
            for (int source = 0; source < 4; ++source)
#pragma unroll
                for (int parity = 0; parity < 2; ++parity) {
                    // Lanes of one row hold two weights of every tile each; all four need all.
                    const int owner = lane / 4 * 4 + source;
                    const float upper = __shfl_sync(~0u, weights[row][parity], owner);
                    const float lower = __shfl_sync(~0u, weights[row][2 + parity], owner);
                    const float* value = values + (row * 8 + source * 2 + parity) * stride;
#pragma unroll
                    for (int column = 0; column < Dim / 8; ++column) {
                        const float* pair = value + column * 8 + fragment_column(lane, 0);
                        const float2 two = *reinterpret_cast<const float2*>(pair);
                        outputs[column][0] = fmaf(upper, two.x, outputs[column][0]);
                        outputs[column][1] = fmaf(upper, two.y, outputs[column][1]);
                        outputs[column][2] = fmaf(lower, two.x, outputs[column][2]);
                        outputs[column][3] = fmaf(lower, two.y, outputs[column][3]);
                    }
                }
    }

  private:
    static __device__ float4 vector_at(const float* address) {
        return *reinterpret_cast<const float4*>(address);
    }
    static __device__ float dot(float4 a, float4 b, float sum) {
        return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
    }
};

}  // namespace kvtape::model::cuda
