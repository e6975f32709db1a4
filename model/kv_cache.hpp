#pragma once

#include "core/decision.hpp"
#include "core/types.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace kvtape::model {

class Transformer;

/// The cache of one sequence: keys (after RoPE) and values of all layers, and, when asked for, the
/// column sums of its context queries. Grows on demand. What is evicted is freed; what stays keeps
/// its position and its phase, and new tokens go on counting.
class KvCache {
  public:
    /// Column sums are kept for queries at positions below `column_limit`; 0 keeps none.
    KvCache(const Transformer& model, Position column_limit);
    KvCache(KvCache&&) noexcept;
    ~KvCache();

    /// The position that the next token gets: tokens seen, unless `seek` said otherwise.
    Position length() const;
    /// The next token gets position `next`; entries at or behind it are forgotten.
    void seek(Position next);
    /// The same entries, in memory of their own and without column sums.
    KvCache copy() const;

    /// Drops what `decision` does not keep and puts in what it merged. The memory is given back up
    /// to some room for the next tokens. Column sums end with the first entry dropped.
    void apply(const Decision& decision);
    /// The same in one layer.
    void apply(const Decision& decision, std::int32_t layer);

    /// Positions that one head holds, ascending.
    std::vector<Position> positions(HeadId id) const;
    /// How many these are.
    Position held(HeadId id) const;
    /// Entries held, over all layers and KV heads.
    std::int64_t entries() const;
    /// Bytes of device memory that keys and values take, room for growth included.
    std::int64_t bytes() const;

    /// Host copies of the entries from the `first`th on of one head: [held - first, head_dim].
    std::vector<float> keys(HeadId id, Position first) const;
    std::vector<float> values(HeadId id, Position first) const;
    /// Of all heads, while nothing was evicted: [kv_heads, length, head_dim] and
    /// [query_heads, length].
    std::vector<float> keys(std::int32_t layer) const;
    std::vector<float> values(std::int32_t layer) const;
    std::vector<float> column_sums(std::int32_t layer) const;

  private:
    friend class Transformer;
    struct State;
    explicit KvCache(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace kvtape::model
