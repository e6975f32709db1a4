#include "model/kv_cache_state.hpp"

#include "core/error.hpp"
#include "core/half.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace kvtape::model {
namespace {

/// Room of a new cache.
constexpr Position smallest_capacity = 256;

}  // namespace

KvCache::State::State(Backend& home, const Shape& geometry, Position limit)
    : backend(home),
      shape(geometry),
      column_limit(limit),
      layers(static_cast<std::size_t>(geometry.layers)) {
    for (Layer& layer : layers)
        layer.slots.resize(static_cast<std::size_t>(shape.kv_heads));
}

Buffer KvCache::State::gathered(const Buffer& from,
                                const Rows& rows,
                                std::span<const CacheSlot> slots,
                                std::size_t row_bytes) const {
    const CacheSlot& last = slots.back();
    Buffer to = backend.allocate(static_cast<std::size_t>(last.begin + last.capacity) * row_bytes);
    backend.clear(to.data(), to.bytes());
    for (std::size_t head = 0; head < rows.size(); ++head)
        if (!rows[head].empty())
            backend.gather(from.data(),
                           rows[head],
                           row_bytes,
                           static_cast<std::byte*>(to.data()) +
                               static_cast<std::size_t>(slots[head].begin) * row_bytes);
    return to;
}

/// Column sums with the same entries in other slots.
Buffer KvCache::State::gathered_sums(const Layer& layer, std::span<const CacheSlot> slots) const {
    const std::int64_t group = shape.group();
    Rows rows;
    std::vector<CacheSlot> lines;
    for (std::size_t head = 0; head < slots.size(); ++head)
        for (std::int64_t i = 0; i < group; ++i) {
            const CacheSlot& old = layer.slots[head];
            std::vector<std::int64_t> line(static_cast<std::size_t>(old.held));
            std::iota(line.begin(), line.end(), group * old.begin + i * old.capacity);
            rows.push_back(std::move(line));
            lines.push_back({.begin = group * slots[head].begin + i * slots[head].capacity,
                             .capacity = slots[head].capacity,
                             .held = old.held});
        }
    return gathered(layer.column_sums, rows, lines, sizeof(float));
}

KvCache::State::Layer KvCache::State::rebuilt(const Layer& layer,
                                              const Rows& rows,
                                              Position room,
                                              bool sums) const {
    Layer fresh;
    std::int64_t begin = 0;
    for (const std::vector<std::int64_t>& kept : rows) {
        const auto held = static_cast<Position>(kept.size());
        fresh.slots.push_back(
            {.begin = begin, .capacity = std::int64_t{held} + room, .held = held});
        begin += fresh.slots.back().capacity;
    }
    fresh.keys = gathered(layer.keys, rows, fresh.slots, entry_bytes());
    fresh.values = gathered(layer.values, rows, fresh.slots, entry_bytes());
    if (sums)
        fresh.column_sums = gathered_sums(layer, fresh.slots);
    fresh.positions = layer.positions;
    return fresh;
}

KvCache::State::Rows KvCache::State::all_rows(const Layer& layer) {
    Rows rows;
    for (const CacheSlot& slot : layer.slots) {
        std::vector<std::int64_t> all(static_cast<std::size_t>(slot.held));
        std::iota(all.begin(), all.end(), slot.begin);
        rows.push_back(std::move(all));
    }
    return rows;
}

void KvCache::State::reserve(Position rows) {
    for (Layer& layer : layers) {
        const auto lacks = [&](const CacheSlot& slot) { return slot.held + rows > slot.capacity; };
        if (std::none_of(layer.slots.begin(), layer.slots.end(), lacks))
            continue;
        // A cache that grows doubles; one that evicts stays tight.
        const bool evicted = !layer.positions.empty();
        const Position room = evicted
                                  ? std::max(rows, room_after_eviction)
                                  : std::max({rows, layer.slots.front().held, smallest_capacity});
        layer = rebuilt(layer, all_rows(layer), room, column_limit > 0);
    }
}

void KvCache::State::advance(Position rows) {
    for (Layer& layer : layers)
        advance(layer, rows);
    length += rows;
}

void KvCache::State::advance(Layer& layer, Position rows) const {
    for (CacheSlot& slot : layer.slots)
        slot.held += rows;
    for (std::vector<Position>& positions : layer.positions)
        for (Position i = 0; i < rows; ++i)
            positions.push_back(length + i);
}

void KvCache::State::retreat(Layer& layer, Position rows) const {
    for (std::vector<Position>& positions : layer.positions) {
        if (std::ssize(positions) < rows ||
            positions[positions.size() - static_cast<std::size_t>(rows)] != length)
            throw internal_error(
                "evicting before a block attends: a token of the block itself, which begins at "
                "position " +
                std::to_string(length) + ", is not kept");
        positions.resize(positions.size() - static_cast<std::size_t>(rows));
    }
    for (CacheSlot& slot : layer.slots)
        slot.held -= rows;
}

void KvCache::State::name_positions(Layer& layer) const {
    if (!layer.positions.empty())
        return;
    for (const CacheSlot& slot : layer.slots) {
        std::vector<Position>& all = layer.positions.emplace_back(slot.held);
        std::iota(all.begin(), all.end(), 0);
    }
}

CacheLayer KvCache::State::layer(std::int32_t index) const {
    const Layer& layer = layers[static_cast<std::size_t>(index)];
    return {.keys = layer.keys.data(), .values = layer.values.data(), .slots = layer.slots};
}

float* KvCache::State::column_sums(std::int32_t index) const {
    return static_cast<float*>(layers[static_cast<std::size_t>(index)].column_sums.data());
}

void KvCache::State::put(Layer& layer, std::int32_t head, const Merges& merges) const {
    const auto index = static_cast<std::size_t>(head);
    const std::vector<Position>& positions = layer.positions[index];
    const std::size_t bytes = entry_bytes(), dim = static_cast<std::size_t>(shape.head_dim);
    std::vector<std::byte> stored(bytes);
    for (std::size_t i = 0; i < merges.changed.size(); ++i) {
        const auto at = std::lower_bound(positions.begin(), positions.end(), merges.changed[i]);
        const auto row =
            static_cast<std::size_t>(layer.slots[index].begin + (at - positions.begin()));
        const auto write = [&](const Buffer& to, const std::vector<float>& rows) {
            encode(shape.element_type, std::span(rows).subspan(i * dim, dim), stored);
            backend.upload(static_cast<std::byte*>(to.data()) + row * bytes, stored);
        };
        write(layer.keys, merges.keys);
        write(layer.values, merges.values);
    }
}

}  // namespace kvtape::model
