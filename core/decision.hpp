#pragma once

#include "core/types.hpp"

#include <span>
#include <utility>
#include <vector>

namespace kvtape {

/// An entry that gave way to another, which took it in.
struct Absorbed {
    Position from = 0;
    Position into = 0;  ///< kept
    bool operator==(const Absorbed&) const = default;
};

/// What merging did to the entries of one KV head.
struct Merges {
    std::vector<Absorbed> absorbed;  ///< ascending by `from`
    std::vector<Position> changed;   ///< kept entries with a new key and value, ascending
    std::vector<float> keys;         ///< [changed, head_dim], after RoPE
    std::vector<float> values;       ///< [changed, head_dim]
    bool operator==(const Merges&) const = default;
};

/// Whether entries may be merged.
enum class Merging { no, yes };

/// What every KV head keeps of what it holds: positions, ascending, without repetition. Policies
/// that merge also say what became of the entries that gave way.
class Decision {
  public:
    Decision() = default;
    Decision(std::int32_t layers, std::int32_t kv_heads, Merging merging = Merging::no)
        : kv_heads_(kv_heads),
          keep_(static_cast<std::size_t>(layers) * static_cast<std::size_t>(kv_heads)),
          merges_(merging == Merging::yes ? keep_.size() : 0) {}

    std::vector<Position>& operator[](HeadId id) & { return keep_[index(id)]; }
    const std::vector<Position>& operator[](HeadId id) const& { return keep_[index(id)]; }
    const std::vector<Position>& operator[](HeadId id) const&& = delete;

    Merging merging() const { return merges_.empty() ? Merging::no : Merging::yes; }
    /// Of one head of a decision that merges.
    Merges& merges(HeadId id) & { return merges_[index(id)]; }
    const Merges& merges(HeadId id) const& { return merges_[index(id)]; }
    const Merges& merges(HeadId id) const&& = delete;

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
    std::vector<Merges> merges_;  ///< one for each head, or none
};

}  // namespace kvtape
