#pragma once

#include "trace/trace.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace kvtape {

/// What a synthetic trace looks like. Every context query of the last `window` and every later one
/// is recorded.
struct SyntheticSize {
    Shape shape = {.layers = 2,
                   .query_heads = 4,
                   .kv_heads = 2,
                   .head_dim = 8,
                   .hidden_size = 32,
                   .softmax_scale = 0.35,
                   .element_type = ElementType::float32};
    std::int32_t sequences = 2;
    Position context = 90;
    Position question = 7;
    Position generated = 5;
    Position window = 64;
    Position needle_begin = 30;
    Position needle_end = 36;
    std::string rope = "{}";  ///< as `TraceInfo::rope`
};

/// Random tensors in memory whose log-sum-exps, outputs and column sums are those that the keys,
/// values and queries imply.
class SyntheticTrace final : public Trace {
  public:
    explicit SyntheticTrace(const SyntheticSize& size, std::uint64_t seed = 1);

    const TraceInfo& info() const override { return info_; }
    std::int32_t sequences() const override { return static_cast<std::int32_t>(infos_.size()); }
    const SequenceInfo& sequence(std::int32_t index) const override {
        return infos_[static_cast<std::size_t>(index)];
    }
    void load(std::int32_t sequence,
              std::int32_t layer,
              const LayerParts& parts,
              LayerData& out) const override;

    /// Everything of one layer.
    const LayerData& layer(std::int32_t sequence, std::int32_t layer) const;
    /// How often `load` was called.
    int loads() const { return loads_; }

  private:
    TraceInfo info_;
    std::vector<SequenceInfo> infos_;
    std::vector<LayerData> layers_;
    mutable int loads_ = 0;
};

}  // namespace kvtape
