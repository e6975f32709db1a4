#pragma once

#include <cstdint>

namespace kvtape::model::cuda {

/// KV heads that fit into the arguments of a kernel.
inline constexpr int most_kv_heads = 128;

/// What model::CacheSlot says.
struct Slot {
    std::int64_t begin = 0;
    std::int32_t capacity = 0;
    std::int32_t held = 0;
};

/// Handed to kernels by value, so that a changed cache costs no copy of its own.
struct Slots {
    Slot of_head[most_kv_heads];
};

}  // namespace kvtape::model::cuda
