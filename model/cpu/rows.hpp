#pragma once

#include "core/types.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace kvtape::model::cpu {

/// Reads elements that are stored as `type` as float32: in place when they already are, else
/// through a converted copy that lives as long as this object.
class Floats {
  public:
    Floats(ElementType type, const void* data, std::int64_t count);
    Floats(Floats&&) noexcept = default;
    Floats(const Floats&) = delete;
    const float* data() const { return data_; }
    std::span<const float> span() const { return {data_, count_}; }

  private:
    std::vector<float> copy_;
    const float* data_;
    std::size_t count_;
};

/// Room for float32 results that end up stored as `type`: the storage itself when that is float32,
/// else a buffer (with the old values when asked for) which `store` rounds into it.
class Results {
  public:
    enum class Start { anything, old_values };
    Results(ElementType type, void* data, std::int64_t count, Start start = Start::anything);
    Results(const Results&) = delete;
    float* data() { return data_; }
    std::span<float> span() { return {data_, count_}; }
    /// Rounds once to the element type.
    void store();

  private:
    ElementType type_;
    void* target_;
    std::vector<float> buffer_;
    float* data_;
    std::size_t count_;
};

/// The address of element `index`.
inline void* element(ElementType type, void* data, std::int64_t index) {
    return static_cast<std::byte*>(data) + index * bytes_of(type);
}
inline const void* element(ElementType type, const void* data, std::int64_t index) {
    return static_cast<const std::byte*>(data) + index * bytes_of(type);
}

}  // namespace kvtape::model::cpu
