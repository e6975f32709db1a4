#pragma once

#include "core/decision.hpp"
#include "core/parallel.hpp"
#include "core/types.hpp"

#include <cstddef>
#include <cstdint>

namespace kvtape {

/// The KV heads of all layers in one row, layer by layer.
class HeadOrder {
  public:
    explicit HeadOrder(const Shape& shape) : layers_(shape.layers), kv_heads_(shape.kv_heads) {}

    std::size_t count() const {
        return static_cast<std::size_t>(layers_) * static_cast<std::size_t>(kv_heads_);
    }
    std::size_t operator[](HeadId id) const {
        return static_cast<std::size_t>(id.layer) * static_cast<std::size_t>(kv_heads_) +
               static_cast<std::size_t>(id.head);
    }
    HeadId id(std::size_t index) const {
        const auto number = static_cast<std::int32_t>(index);
        return {number / kv_heads_, number % kv_heads_};
    }
    /// A decision head by head, on up to `threads` threads: `keep(id)` is what a head keeps.
    template <typename Keep>
    Decision decide(int threads, const Keep& keep) const {
        Decision decision(layers_, kv_heads_);
        parallel_for(
            count(), threads, [&](std::size_t index) { decision[id(index)] = keep(id(index)); });
        return decision;
    }

  private:
    std::int32_t layers_, kv_heads_;
};

}  // namespace kvtape
