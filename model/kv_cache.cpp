#include "model/kv_cache.hpp"

#include "core/error.hpp"
#include "model/kv_cache_state.hpp"
#include "model/transformer.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace kvtape::model {
namespace {

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
    for (std::int32_t layer = 0; layer < state_->shape.layers; ++layer)
        apply(decision, layer);
}

void KvCache::apply(const Decision& decision, std::int32_t number) {
    State& state = *state_;
    State::Layer& layer = state.layers[static_cast<std::size_t>(number)];
    if (!changes(decision, number, layer.slots))
        return;
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
