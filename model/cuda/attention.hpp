#pragma once

#include "core/element.hpp"
#include "model/cuda/slots.hpp"

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kvtape::model::cuda {

/// What model::Attention says, in device pointers to elements of one type, aligned to 16 bytes.
struct AttentionArguments {
    const void* queries = nullptr;  ///< [rows, query_heads * head_dim]
    const void* keys = nullptr;     ///< [rows of all slots, head_dim]
    const void* values = nullptr;   ///< the same
    void* outputs = nullptr;        ///< [rows, query_heads * head_dim]
    float* logsumexp = nullptr;     ///< [query_heads, rows]
    float* column_sums = nullptr;   ///< as in model::Attention
    Slots slots;
    std::int32_t rows = 0;
    std::int32_t query_heads = 0;
    std::int32_t group = 0;  ///< query heads per KV head
    std::int32_t head_dim = 0;
    std::int32_t first = 0;
    std::int32_t window = 0;
    std::int32_t column_limit = 0;
    float scale = 0.0f;
};

/// Pass 1: writes outputs and logsumexp by online softmax over tiles of keys in ascending order.
/// A row's bits do not depend on the rows that come with it.
void attend(ElementType type, const AttentionArguments& arguments, cudaStream_t stream);

/// Pass 2, after pass 1: recomputes the scores and adds exp(score - logsumexp) of the queries below
/// column_limit to column_sums, queries in ascending order within a thread. Touches no other key.
void add_column_sums(ElementType type, const AttentionArguments& arguments, cudaStream_t stream);

}  // namespace kvtape::model::cuda
