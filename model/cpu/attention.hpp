#pragma once

#include "core/kernels.hpp"
#include "model/backend.hpp"

#include <vector>

namespace kvtape::model::cpu {

/// Memory of `attend`, kept from call to call because fresh pages cost as much as a tenth of the
/// work.
struct AttentionScratch {
    /// The visible entries of one KV head, packed in blocks.
    struct KvHead {
        std::vector<Packed> keys, values;
    };
    /// What one query head needs for one block of queries.
    struct QueryHead {
        std::vector<float> queries, probabilities, sums;
    };
    std::vector<KvHead> kv_heads;
    std::vector<QueryHead> query_heads;
};

/// Causal attention with log-sum-exp and column sums in one pass over blocks of queries: the
/// probabilities of a block stay in cache while they are normalised, added to the columns and
/// multiplied with the values. Each row's result depends on its own entries alone, and columns grow
/// by one query at a time in ascending order, so bits depend neither on threads nor on how the
/// prompt was cut into chunks.
void attend(ElementType type, const Attention& attention, int threads, AttentionScratch& scratch);
/// The same with memory of its own.
void attend(ElementType type, const Attention& attention, int threads);

}  // namespace kvtape::model::cpu
