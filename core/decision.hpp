#pragma once

#include "core/types.hpp"

#include <span>
#include <utility>
#include <vector>

namespace kvtape {

/// What every KV head keeps of what it holds: positions, ascending, without repetition.
class Decision {
  public:
    Decision() = default;
    Decision(std::int32_t layers, std::int32_t kv_heads)
        : kv_heads_(kv_heads),
          keep_(static_cast<std::size_t>(layers) * static_cast<std::size_t>(kv_heads)) {}

    std::vector<Position>& operator[](HeadId id) & { return keep_[index(id)]; }
    const std::vector<Position>& operator[](HeadId id) const& { return keep_[index(id)]; }
    const std::vector<Position>& operator[](HeadId id) const&& = delete;

    std::int32_t layers() const {
        return kv_heads_ == 0 ? 0 : static_cast<std::int32_t>(keep_.size()) / kv_heads_;
    }
    std::int32_t kv_heads() const { return kv_heads_; }
    bool operator==(const Decision&) const = default;

  private:
    std::size_t index(HeadId id) const {
        return static_cast<std::size_t>(id.layer) * static_cast<std::size_t>(kv_heads_) +
               static_cast<std::size_t>(id.head);
    }
    std::int32_t kv_heads_ = 0;
    std::vector<std::vector<Position>> keep_;
};

}  // namespace kvtape
