#pragma once

#include "model/backend.hpp"
#include "model/transformer.hpp"

#include <vector>

namespace kvtape::model {

/// What a KvCache holds on its backend.
struct KvCache::State {
    State(Backend& home, const Shape& geometry, Position limit)
        : backend(home),
          shape(geometry),
          column_limit(limit) {}

    /// Makes room for `entries` entries, at least doubling when it grows; keeps what is there.
    void reserve(Position entries);
    CacheLayer layer(std::int32_t index) const;
    /// Device floats [query_heads, capacity], or null.
    float* column_sums(std::int32_t index) const;

    struct Layer {
        Buffer keys, values, column_sums;
    };
    Backend& backend;
    Shape shape;
    Position column_limit = 0;
    Position length = 0;
    Position capacity = 0;
    std::vector<Layer> layers;

  private:
    Buffer grown(const Buffer& old,
                 std::int32_t heads,
                 std::int64_t entry_bytes,
                 Position to) const;
};

}  // namespace kvtape::model
