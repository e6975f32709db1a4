#pragma once

#include "core/types.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kvtape::model {

/// Memory of a backend's device. Move-only; freed with the last owner gone, never throws then.
class Buffer {
  public:
    Buffer() = default;
    Buffer(void* data, std::size_t bytes, void (*release)(void*) noexcept)
        : data_(data, release),
          bytes_(bytes) {}
    void* data() const { return data_.get(); }
    std::size_t bytes() const { return bytes_; }

  private:
    std::unique_ptr<void, void (*)(void*) noexcept> data_{nullptr, [](void*) noexcept {}};
    std::size_t bytes_ = 0;
};

/// Dense row-major activations [rows, columns] in device memory, element type of the backend.
struct Activations {
    void* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
};

/// A weight [rows, columns] (out, in) or a vector [1, n], prepared by a backend for its own use.
class Weight {
  public:
    virtual ~Weight() = default;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
};

/// Where one KV head's entries lie in the tensors of its layer's cache.
struct CacheSlot {
    std::int64_t begin = 0;     ///< its first row
    std::int64_t capacity = 0;  ///< rows it may fill
    Position held = 0;          ///< rows it fills before the new ones
};

/// One layer's cache: keys and values [rows, head_dim] in the backend's element type, and the slot
/// of every KV head. Heads that evicted differently hold differently many entries.
struct CacheLayer {
    void* keys = nullptr;
    void* values = nullptr;
    std::span<const CacheSlot> slots = {};
};

/// Causal attention of `rows` new queries at positions `first .. first + rows` over what every KV
/// head holds and, behind it, the entries of the new rows themselves, which the cache already has.
struct Attention {
    Shape shape;
    Activations queries;  ///< [rows, query_heads * head_dim], after RoPE
    CacheLayer cache;
    Activations outputs;  ///< [rows, query_heads * head_dim]
    Position first = 0;
    Position window = 0;  ///< sliding window in entries; 0 = none
    /// Device float [query_heads, rows]; always written.
    float* logsumexp = nullptr;
    /// Device float, or null: for every KV head, from `group * slot.begin` on, a row of
    /// `slot.capacity` for each of its query heads. Adds the probability each entry gets from the
    /// queries below `column_limit`, in a fixed order.
    float* column_sums = nullptr;
    Position column_limit = 0;
};

/// The operations a transformer is made of. `forward` is written once, over these. Every operation
/// accumulates in float32 or better and rounds its result once to `element_type()`. Operations run
/// in order; host transfers wait for them. Failures are device errors.
class Backend {
  public:
    virtual ~Backend() = default;
    virtual std::string name() const = 0;         ///< "cpu" or "cuda"
    virtual std::string description() const = 0;  ///< what a trace records as its device
    virtual ElementType element_type() const = 0;

    virtual Buffer allocate(std::size_t bytes) = 0;
    virtual void upload(void* device, std::span<const std::byte> host) = 0;
    virtual void download(std::span<std::byte> host, const void* device) = 0;
    virtual void clear(void* device, std::size_t bytes) = 0;
    virtual void synchronize() = 0;

    /// `stored` holds rows * columns elements of `type`; it must outlive the weight (mmap).
    virtual std::unique_ptr<Weight> prepare(std::span<const std::byte> stored,
                                            ElementType type,
                                            std::int64_t rows,
                                            std::int64_t columns) = 0;

    /// out[i] = table[tokens[i]].
    virtual void embed(std::span<const std::int32_t> tokens,
                       const Weight& table,
                       Activations out) = 0;
    /// out = x / sqrt(mean(x^2) + epsilon) * weight, by row.
    virtual void rms_norm(Activations x, const Weight& weight, float epsilon, Activations out) = 0;
    /// out[rows, n] = x[rows, k] · weight[n, k]ᵀ (+ bias[n] when not null).
    virtual void linear(Activations x,
                        const Weight& weight,
                        const Weight* bias,
                        Activations out) = 0;
    /// Rotates, in place, every head of x [rows, heads * head_dim]; row r is position first + r.
    /// Half layout: pairs (i, i + rotary_dim / 2); angles in double, `scale` multiplies cos and
    /// sin.
    virtual void rope(Activations x,
                      std::int32_t head_dim,
                      std::span<const double> inverse_frequencies,
                      double scale,
                      Position first) = 0;
    /// Copies new keys and values [rows, kv_heads * head_dim] behind what every head holds.
    virtual void append(Activations keys,
                        Activations values,
                        const Shape& shape,
                        CacheLayer cache) = 0;
    /// to[i] = from[rows[i]], rows of `row_bytes`, a multiple of 4, on the device; `from` and `to`
    /// do not overlap.
    virtual void gather(const void* from,
                        std::span<const std::int64_t> rows,
                        std::size_t row_bytes,
                        void* to) = 0;
    virtual void attend(const Attention& attention) = 0;
    /// out = silu(gate) * up.
    virtual void swiglu(Activations gate, Activations up, Activations out) = 0;
    /// x += y.
    virtual void add(Activations x, Activations y) = 0;

    /// Host float32 copy of `count` elements of the backend's type at `device`.
    virtual std::vector<float> to_host(const void* device, std::size_t count) = 0;
};

/// `threads` workers; results do not depend on it.
std::unique_ptr<Backend> cpu_backend(ElementType type, int threads);
/// Always declared; a build without CUDA or a machine without a usable GPU is a device error that
/// says which.
std::unique_ptr<Backend> cuda_backend(ElementType type, int device);
/// Why `cuda_backend` would fail here, or "" when it would not.
std::string cuda_unavailable();

}  // namespace kvtape::model
