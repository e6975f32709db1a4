#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// Scores that were computed elsewhere: one for every token of every KV head, higher is kept first.
/// Any thread may read.
class ScoreTable {
  public:
    virtual ~ScoreTable() = default;
    /// [kv_heads, tokens] of one layer, all finite.
    virtual std::vector<float> layer(std::string_view sequence, std::int32_t layer) const = 0;
    /// 32 hex digits that stand for the content.
    virtual const std::string& fingerprint() const = 0;
};

}  // namespace kvtape
