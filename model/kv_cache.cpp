#include "model/kv_cache.hpp"

#include "core/error.hpp"
#include "core/half.hpp"
#include "model/kv_cache_state.hpp"
#include "model/transformer.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace kvtape::model {
namespace {

/// Room of a new cache, and what an evicted one leaves for the tokens to come.
constexpr Position smallest_capacity = 256;
constexpr Position room_after_eviction = 64;

/// Rows of `keep` among the entries of a slot, which hold `positions`; both ascend.
std::vector<std::int64_t> rows_of(const std::vector<Position>& keep,
                                  const std::vector<Position>& positions,
                                  const CacheSlot& slot) {
    std::vector<std::int64_t> rows;
    rows.reserve(keep.size());
    auto at = positions.begin();
    for (const Position position : keep) {
        at = std::lower_bound(at, positions.end(), position);
        if (at == positions.end() || *at != position)
            throw internal_error("evicting from the cache: position " + std::to_string(position) +
                                 " is kept but not held");
        rows.push_back(slot.begin + (at - positions.begin()));
    }
    return rows;
}

/// Whether `decision` evicts or merges anything in `layer`.
bool changes(const Decision& decision, std::int32_t layer, std::span<const CacheSlot> slots) {
    for (std::int32_t head = 0; head < decision.kv_heads(); ++head) {
        const HeadId id{layer, head};
        if (std::ssize(decision[id]) != slots[static_cast<std::size_t>(head)].held)
            return true;
        if (decision.merging() == Merging::yes && !decision.merges(id).changed.empty())
            return true;
    }
    return false;
}

/// Host copy of the entries from the `first`th on.
std::vector<float> entries_from(Backend& backend,
                                const Buffer& buffer,
                                const CacheSlot& slot,
                                Position first,
                                const Shape& shape) {
    const auto row_bytes = static_cast<std::int64_t>(shape.head_dim) * bytes_of(shape.element_type);
    const auto* data = static_cast<const std::byte*>(buffer.data());
    return backend.to_host(
        data + (slot.begin + first) * row_bytes,
        static_cast<std::size_t>(slot.held - first) * static_cast<std::size_t>(shape.head_dim));
}

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
    for (Layer& layer : layers) {
        for (CacheSlot& slot : layer.slots)
            slot.held += rows;
        for (std::vector<Position>& positions : layer.positions)
            for (Position i = 0; i < rows; ++i)
                positions.push_back(length + i);
    }
    length += rows;
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

KvCache::KvCache(const Transformer& model, Position column_limit)
    : state_(std::make_unique<State>(model.backend(), model.shape(), column_limit)) {}
KvCache::KvCache(std::unique_ptr<State> state) : state_(std::move(state)) {}
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache::~KvCache() = default;

Position KvCache::length() const {
    return state_->length;
}

void KvCache::seek(Position next) {
    State& state = *state_;
    for (State::Layer& layer : state.layers) {
        if (next > state.length)
            state.name_positions(layer);
        for (std::size_t head = 0; head < layer.slots.size(); ++head) {
            Position& held = layer.slots[head].held;
            if (layer.positions.empty()) {
                held = std::min(held, next);
                continue;
            }
            std::vector<Position>& positions = layer.positions[head];
            positions.erase(std::lower_bound(positions.begin(), positions.end(), next),
                            positions.end());
            held = static_cast<Position>(positions.size());
        }
    }
    state.length = next;
}

KvCache KvCache::copy() const {
    auto copy = std::make_unique<State>(state_->backend, state_->shape, 0);
    copy->length = state_->length;
    for (std::size_t i = 0; i < copy->layers.size(); ++i)
        copy->layers[i] = state_->rebuilt(
            state_->layers[i], State::all_rows(state_->layers[i]), room_after_eviction, false);
    return KvCache(std::move(copy));
}

void KvCache::apply(const Decision& decision) {
    State& state = *state_;
    for (std::int32_t number = 0; number < state.shape.layers; ++number) {
        State::Layer& layer = state.layers[static_cast<std::size_t>(number)];
        if (!changes(decision, number, layer.slots))
            continue;
        state.column_limit = 0;
        state.name_positions(layer);
        State::Rows rows;
        for (std::int32_t head = 0; head < state.shape.kv_heads; ++head) {
            const auto index = static_cast<std::size_t>(head);
            const std::vector<Position>& keep = decision[{number, head}];
            rows.push_back(rows_of(keep, layer.positions[index], layer.slots[index]));
            layer.positions[index] = keep;
        }
        layer = state.rebuilt(layer, rows, room_after_eviction, false);
        if (decision.merging() == Merging::yes)
            for (std::int32_t head = 0; head < state.shape.kv_heads; ++head)
                state.put(layer, head, decision.merges({number, head}));
    }
}

std::vector<Position> KvCache::positions(HeadId id) const {
    const State::Layer& layer = state_->layers[static_cast<std::size_t>(id.layer)];
    const auto head = static_cast<std::size_t>(id.head);
    if (!layer.positions.empty())
        return layer.positions[head];
    std::vector<Position> all(static_cast<std::size_t>(layer.slots[head].held));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

Position KvCache::held(HeadId id) const {
    return state_->layers[static_cast<std::size_t>(id.layer)]
        .slots[static_cast<std::size_t>(id.head)]
        .held;
}

std::int64_t KvCache::entries() const {
    std::int64_t entries = 0;
    for (const State::Layer& layer : state_->layers)
        for (const CacheSlot& slot : layer.slots)
            entries += slot.held;
    return entries;
}

std::int64_t KvCache::bytes() const {
    std::size_t bytes = 0;
    for (const State::Layer& layer : state_->layers)
        bytes += layer.keys.bytes() + layer.values.bytes();
    return static_cast<std::int64_t>(bytes);
}

std::vector<float> KvCache::keys(HeadId id, Position first) const {
    const State::Layer& layer = state_->layers[static_cast<std::size_t>(id.layer)];
    const CacheSlot& slot = layer.slots[static_cast<std::size_t>(id.head)];
    return entries_from(state_->backend, layer.keys, slot, first, state_->shape);
}

std::vector<float> KvCache::values(HeadId id, Position first) const {
    const State::Layer& layer = state_->layers[static_cast<std::size_t>(id.layer)];
    const CacheSlot& slot = layer.slots[static_cast<std::size_t>(id.head)];
    return entries_from(state_->backend, layer.values, slot, first, state_->shape);
}

std::vector<float> KvCache::keys(std::int32_t layer) const {
    std::vector<float> all;
    for (std::int32_t head = 0; head < state_->shape.kv_heads; ++head) {
        const std::vector<float> rows = keys({layer, head}, 0);
        all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
}

std::vector<float> KvCache::values(std::int32_t layer) const {
    std::vector<float> all;
    for (std::int32_t head = 0; head < state_->shape.kv_heads; ++head) {
        const std::vector<float> rows = values({layer, head}, 0);
        all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
}

std::vector<float> KvCache::column_sums(std::int32_t layer) const {
    const State& state = *state_;
    const std::int64_t group = state.shape.group();
    std::vector<float> all;
    for (const CacheSlot& slot : state.layers[static_cast<std::size_t>(layer)].slots)
        for (std::int64_t i = 0; i < group; ++i) {
            std::vector<float> sums(static_cast<std::size_t>(slot.held));
            if (const float* from = state.column_sums(layer); from != nullptr)
                state.backend.download(std::as_writable_bytes(std::span(sums)),
                                       from + group * slot.begin + i * slot.capacity);
            all.insert(all.end(), sums.begin(), sums.end());
        }
    return all;
}

}  // namespace kvtape::model
