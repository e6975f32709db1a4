#pragma once

#include "core/types.hpp"

#include <span>

namespace kvtape {

/// What a tap wants of one layer of one block. Unwanted tensors never leave the device.
struct TapRequest {
    /// Absolute positions inside the block whose query rows are wanted, ascending.
    std::span<const Position> positions;
    /// Whether the rows of the attention block's input are wanted too.
    bool inputs = false;
};

/// Rows of one layer of one block, on the host, as float32. Valid during the call.
struct TapRows {
    std::int32_t layer = 0;
    std::span<const Position> positions;  ///< n
    MatrixView queries;    ///< [query_heads * n, head_dim], after RoPE, unscaled; head major
    MatrixView outputs;    ///< [query_heads * n, head_dim], attention output before W_o
    MatrixView logsumexp;  ///< [query_heads, n], natural log, of the scaled logits
    MatrixView inputs;     ///< [n, hidden_size], after the norm before attention; or no rows
};

/// Listens to a running model: asked first, then handed what it asked for.
class Tap {
  public:
    virtual ~Tap() = default;
    /// Asked before a layer runs over a block.
    virtual TapRequest wants(std::int32_t layer, const Block& block) = 0;
    /// Told after a layer put the keys and values of the block into its cache, before the queries
    /// of the block attend. The cache of this layer may be evicted from, except the block itself.
    virtual void appended(std::int32_t layer, const Block& block) {
        static_cast<void>(layer), static_cast<void>(block);
    }
    /// Handed over after the layer ran, when rows were wanted.
    virtual void take(const TapRows& rows) = 0;
};

}  // namespace kvtape
