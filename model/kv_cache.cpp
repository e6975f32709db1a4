#include "model/kv_cache.hpp"

#include <algorithm>
#include <limits>

namespace kvtape::model {
namespace {

constexpr Position smallest_capacity = 256;

/// The first `length` entries of every head of a buffer [heads, capacity, dim] on the host.
template <typename Read>
std::vector<float> gather(
    std::int32_t heads, Position capacity, Position length, std::int64_t dim, const Read& read) {
    std::vector<float> all;
    all.reserve(static_cast<std::size_t>(heads * length * dim));
    for (std::int64_t head = 0; head < heads; ++head) {
        const std::vector<float> rows =
            read(head * capacity * dim, static_cast<std::size_t>(length * dim));
        all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
}

}  // namespace

Buffer KvCache::State::grown(const Buffer& old,
                             std::int32_t heads,
                             std::int64_t entry_bytes,
                             Position to) const {
    const auto head_bytes = static_cast<std::size_t>(to * entry_bytes);
    Buffer fresh = backend.allocate(static_cast<std::size_t>(heads) * head_bytes);
    backend.clear(fresh.data(), fresh.bytes());
    std::vector<std::byte> rows(static_cast<std::size_t>(length * entry_bytes));
    for (std::int32_t head = 0; head < heads && !rows.empty(); ++head) {
        backend.download(rows,
                         static_cast<const std::byte*>(old.data()) + head * capacity * entry_bytes);
        backend.upload(
            static_cast<std::byte*>(fresh.data()) + static_cast<std::size_t>(head) * head_bytes,
            rows);
    }
    return fresh;
}

void KvCache::State::reserve(Position entries) {
    if (entries <= capacity)
        return;
    constexpr std::int64_t most = std::numeric_limits<Position>::max();
    const auto to = static_cast<Position>(std::min<std::int64_t>(
        most, std::max<std::int64_t>({entries, std::int64_t{2} * capacity, smallest_capacity})));
    layers.resize(static_cast<std::size_t>(shape.layers));
    const std::int64_t row_bytes = shape.head_dim * bytes_of(shape.element_type);
    for (Layer& layer : layers) {
        layer.keys = grown(layer.keys, shape.kv_heads, row_bytes, to);
        layer.values = grown(layer.values, shape.kv_heads, row_bytes, to);
        if (column_limit > 0)
            layer.column_sums = grown(layer.column_sums, shape.query_heads, sizeof(float), to);
    }
    capacity = to;
}

CacheLayer KvCache::State::layer(std::int32_t index) const {
    const Layer& layer = layers[static_cast<std::size_t>(index)];
    return {.keys = layer.keys.data(), .values = layer.values.data(), .capacity = capacity};
}

float* KvCache::State::column_sums(std::int32_t index) const {
    return static_cast<float*>(layers[static_cast<std::size_t>(index)].column_sums.data());
}

KvCache::KvCache(const Transformer& model, Position column_limit)
    : state_(std::make_unique<State>(model.backend(), model.shape(), column_limit)) {}
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache::~KvCache() = default;

Position KvCache::length() const {
    return state_->length;
}

void KvCache::truncate(Position length) {
    state_->length = std::min(state_->length, std::max(length, 0));
}

std::vector<float> KvCache::keys(std::int32_t layer) const {
    const State& state = *state_;
    return gather(state.shape.kv_heads,
                  state.capacity,
                  state.length,
                  state.shape.head_dim,
                  [&](std::int64_t first, std::size_t count) {
                      const auto* data = static_cast<const std::byte*>(state.layer(layer).keys);
                      return state.backend.to_host(
                          data + first * bytes_of(state.shape.element_type), count);
                  });
}

std::vector<float> KvCache::values(std::int32_t layer) const {
    const State& state = *state_;
    return gather(state.shape.kv_heads,
                  state.capacity,
                  state.length,
                  state.shape.head_dim,
                  [&](std::int64_t first, std::size_t count) {
                      const auto* data = static_cast<const std::byte*>(state.layer(layer).values);
                      return state.backend.to_host(
                          data + first * bytes_of(state.shape.element_type), count);
                  });
}

std::vector<float> KvCache::column_sums(std::int32_t layer) const {
    const State& state = *state_;
    return gather(state.shape.query_heads,
                  state.capacity,
                  state.length,
                  1,
                  [&](std::int64_t first, std::size_t count) {
                      std::vector<float> sums(count);
                      if (state.column_limit > 0)
                          state.backend.download(std::as_writable_bytes(std::span(sums)),
                                                 state.column_sums(layer) + first);
                      return sums;
                  });
}

}  // namespace kvtape::model
