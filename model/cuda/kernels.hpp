#pragma once

#include "core/element.hpp"
#include "model/cuda/slots.hpp"

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

/// The operations of a transformer other than products and attention: plain functions over device
/// pointers. Every result is rounded once; every sum has a fixed order.
namespace kvtape::model::cuda {

/// Dense row-major elements in device memory.
struct Elements {
    void* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    std::int64_t count() const { return rows * columns; }
};

/// How the rotary embedding turns the heads of a row.
struct Rotation {
    const double* inverse_frequencies = nullptr;  ///< device, [pairs]
    std::int32_t pairs = 0;
    std::int32_t head_dim = 0;
    std::int32_t first = 0;  ///< position of row 0
    double scale = 1.0;
};

/// One side of a cache layer: the rows of all slots.
struct CacheSide {
    void* data = nullptr;
    Slots slots;
    std::int32_t heads = 0;
    std::int32_t head_dim = 0;
};

/// out[i] = stored[i], from elements of `from` to elements of `to`.
void convert(ElementType from,
             const void* stored,
             ElementType to,
             void* out,
             std::int64_t count,
             cudaStream_t stream);

/// out[i] = table[tokens[i]]; `tokens` is device memory, one a row of `out`, each inside the table.
void embed(ElementType type,
           const std::int32_t* tokens,
           const void* table,
           Elements out,
           cudaStream_t stream);

/// out = x / sqrt(mean(x^2) + epsilon) * weight, by row.
void rms_norm(ElementType type,
              Elements x,
              const void* weight,
              float epsilon,
              void* out,
              cudaStream_t stream);

/// Rotates pairs (i, i + pairs) of every head of x in place; angles, cosine and sine in double.
void rope(ElementType type, Elements x, const Rotation& rotation, cudaStream_t stream);

/// Copies the rows of `x` [rows, heads * head_dim] behind what the slots of `side` hold.
void append(ElementType type, Elements x, const CacheSide& side, cudaStream_t stream);

/// to[i] = from[rows[i]] for `count` rows of `words` 32-bit words; all in device memory.
void gather(const void* from,
            const std::int64_t* rows,
            std::int64_t count,
            std::int64_t words,
            void* to,
            cudaStream_t stream);

/// out = silu(gate) * up.
void swiglu(ElementType type, Elements gate, const void* up, void* out, cudaStream_t stream);

/// x += y.
void add(ElementType type, Elements x, const void* y, cudaStream_t stream);

/// Why the current device cannot run the kernels of this build, or "".
std::string kernels_unusable();

}  // namespace kvtape::model::cuda
