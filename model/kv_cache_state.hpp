#pragma once

#include "model/backend.hpp"
#include "model/kv_cache.hpp"

#include <span>
#include <vector>

namespace kvtape::model {

/// Entries of every head for which an evicted cache leaves room, so that the next tokens need no
/// new memory each.
inline constexpr Position room_after_eviction = 64;

/// What a KvCache holds on its backend.
struct KvCache::State {
    struct Layer {
        Buffer keys, values, column_sums;
        std::vector<CacheSlot> slots;  ///< one for each KV head
        /// Of every head, ascending; empty while each holds exactly the positions below `length`.
        std::vector<std::vector<Position>> positions;
    };

    State(Backend& home, const Shape& geometry, Position limit);

    /// Makes room for `rows` more entries in every head; keeps what is there.
    void reserve(Position rows);
    CacheLayer layer(std::int32_t index) const;
    /// See Attention::column_sums; null where none are kept.
    float* column_sums(std::int32_t index) const;
    /// Notes that `rows` tokens from position `length` on were appended to every head.
    void advance(Position rows);
    /// The same in one layer, and taken back: in between it can be evicted from, but not these
    /// tokens, which attention expects behind what is held.
    void advance(Layer& layer, Position rows) const;
    void retreat(Layer& layer, Position rows) const;

    /// Rows of a buffer to keep, one list for each KV head.
    using Rows = std::vector<std::vector<std::int64_t>>;

    /// The buffers of `layer` with only the chosen entries and room for `room` more in every head.
    Layer rebuilt(const Layer& layer, const Rows& rows, Position room, bool sums) const;
    /// The rows of everything that `layer` holds.
    static Rows all_rows(const Layer& layer);
    /// Gives every head of `layer` a list of its positions.
    void name_positions(Layer& layer) const;
    void put(Layer& layer, std::int32_t head, const Merges& merges) const;

    Backend& backend;
    Shape shape;
    Position column_limit = 0;
    Position length = 0;
    std::vector<Layer> layers;

  private:
    std::size_t entry_bytes() const {
        return static_cast<std::size_t>(shape.head_dim * bytes_of(shape.element_type));
    }
    Buffer gathered(const Buffer& from,
                    const Rows& rows,
                    std::span<const CacheSlot> slots,
                    std::size_t row_bytes) const;
    Buffer gathered_sums(const Layer& layer, std::span<const CacheSlot> slots) const;
};

}  // namespace kvtape::model
