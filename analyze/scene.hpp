#pragma once

#include "analyze/figure_grid.hpp"
#include "sim/head_facts.hpp"
#include "sim/held_state.hpp"
#include "sim/results.hpp"
#include "trace/trace.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// One KV head under one result, after the last decision before the answer.
struct HeldHead {
    HeldState state;
    std::vector<float> scores;  ///< of the same tokens; empty where none are stored
};

/// One layer of one sequence under all results.
struct LayerScene {
    std::size_t sequence = 0;  ///< of the scene, from 0
    std::int32_t layer = 0;
    /// [result][head]; no heads where the result lacks this layer of this sequence.
    std::vector<std::vector<HeldHead>> held;
    /// What was recorded; null without a trace.
    const TraceInfo* trace = nullptr;
    const SequenceInfo* info = nullptr;
    const LayerData* data = nullptr;                 ///< keys, values and queries
    const std::vector<float>* projection = nullptr;  ///< W_o, empty where not recorded

    /// Of one KV head, the first `tokens`: [tokens, head_dim]; only with a trace.
    MatrixView keys(std::size_t head, std::size_t tokens) const {
        return rows_of(data->keys, head, tokens);
    }
    MatrixView values(std::size_t head, std::size_t tokens) const {
        return rows_of(data->values, head, tokens);
    }

  private:
    MatrixView rows_of(const std::vector<float>& tensor,
                       std::size_t head,
                       std::size_t tokens) const {
        const Eigen::Index all = info->length(), dim = trace->shape.head_dim;
        return view(tensor.data() + static_cast<Eigen::Index>(head) * all * dim,
                    static_cast<Eigen::Index>(tokens),
                    dim);
    }
};

/// One KV head of it.
struct HeadScene {
    const LayerScene& layer;
    std::size_t head = 0;
    const HeadFacts* facts = nullptr;  ///< null without a trace
    /// By token: probability that it got in the full run, mean over probes and the query heads of
    /// the group; empty without a trace or without probes.
    std::vector<double> probe_mass;

    HeadPlace place() const {
        return {layer.sequence, static_cast<std::size_t>(layer.layer), head};
    }
};

/// What a pass goes over.
struct SceneSizes {
    std::size_t sequences = 0;
    std::size_t layers = 0;
    std::size_t heads = 0;  ///< KV heads
};

/// One table of findings, filled while a pass goes from layer to layer.
class Measure {
  public:
    virtual ~Measure() = default;
    virtual std::string_view file() const = 0;
    virtual bool needs_trace() const { return false; }
    /// Called for all heads of a layer, by several threads.
    virtual void measure_head(const HeadScene& scene) = 0;
    /// Called after them.
    virtual void measure_layer(const LayerScene& scene, int threads) {
        static_cast<void>(scene), static_cast<void>(threads);
    }
    /// The table, over results whose flag is set.
    virtual std::string table(const std::vector<char>& usable, int threads) const = 0;
};

}  // namespace kvtape
