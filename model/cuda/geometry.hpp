#pragma once

#include <cstdint>

/// The index arithmetic of the attention kernels, apart from them so that it is tested without a
/// GPU. Positions are absolute; a window of 0 is no window.
namespace kvtape::model::cuda {

inline constexpr int warp_size = 32;
inline constexpr int warps = 4;
/// Rows that one warp multiplies at a time, and rows of a block: fixed, so that no sum depends on
/// the GPU's size.
inline constexpr int warp_rows = 16;
inline constexpr int block_rows = warps * warp_rows;
inline constexpr int max_head_dim = 256;

/// A 16 x 8 result tile is spread over a warp as the tensor cores do it: element i of a lane.
constexpr int fragment_row(int lane, int element) {
    return lane / 4 + element / 2 * 8;
}
constexpr int fragment_column(int lane, int element) {
    return lane % 4 * 2 + element % 2;
}

/// Whether the query at `query` attends the key at `key`.
constexpr bool attends(std::int32_t query, std::int32_t key, std::int32_t window) {
    return key <= query && (window == 0 || query - key < window);
}

/// The first key that the query at `query` attends.
constexpr std::int32_t first_key(std::int32_t query, std::int32_t window) {
    return window == 0 || query < window ? 0 : query - window + 1;
}

/// One past the last query below `end` that attends the key at `key`.
constexpr std::int32_t query_end(std::int32_t key, std::int32_t window, std::int32_t end) {
    return window == 0 || end - key < window ? end : key + window;
}

constexpr std::int64_t ceil_div(std::int64_t count, std::int64_t size) {
    return (count + size - 1) / size;
}

/// The largest multiple of `size` that is not above `position`.
constexpr std::int32_t floor_to(std::int32_t position, std::int32_t size) {
    return position / size * size;
}

/// The compiled head size that holds `head_dim`; the rest is zeros.
constexpr int padded_head_dim(int head_dim) {
    return head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
}

/// Head sizes whose rows fall into whole 16-byte vectors.
constexpr bool supports_head_dim(int head_dim) {
    return head_dim > 0 && head_dim <= max_head_dim && head_dim % 8 == 0;
}

}  // namespace kvtape::model::cuda
