#pragma once

#include "core/tap.hpp"
#include "model/kv_cache.hpp"
#include "tools/second_pass.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <map>
#include <vector>

namespace kvtape::live {

/// What a running model has produced of one sequence so far, laid out as a recording would hold it,
/// so that a policy is shown the same whichever loop drives it. Keys and values are those the model
/// put into its cache; what a policy merges later is not among them.
class Tape final : public Tap {
  public:
    /// `sequence` has room for every token that may come; its `query_positions` say whose queries
    /// are kept.
    Tape(const Shape& shape, SequenceInfo sequence);

    TapRequest wants(std::int32_t layer, const Block& block) override;
    void take(const TapRows& rows) override;
    /// Takes keys and values of the positions `[begin, end)`, the newest entries of the cache.
    void collect(const model::KvCache& cache, Position begin, Position end);
    void collect(const model::KvCache& cache, std::int32_t layer, Position begin, Position end);
    /// Notes the rows of the positions `[begin, end)` as they are now: those of tokens that were
    /// asked behind `moment` and taken back.
    void note_probes(Position moment, Position begin, Position end);
    /// Makes `data` the layer as it was at `moment`; where nothing was noted, as it is now.
    void show_probes(std::int32_t layer, Position moment, LayerData& data) const;
    /// Takes the column sums of everything the cache has seen; before anything is evicted.
    void collect_column_sums(const model::KvCache& cache);

    /// Takes what a second pass over the context asked for.
    void collect(SecondPass& pass);

    const SequenceInfo& sequence() const { return sequence_; }
    const LayerData& layer(std::int32_t index) const {
        return layers_[static_cast<std::size_t>(index)];
    }
    /// The token of a position that was empty so far.
    void set_token(Position position, std::int32_t token) {
        sequence_.tokens[static_cast<std::size_t>(position)] = token;
    }
    /// The first `tokens` positions alone.
    Tape first(Position tokens) const;

  private:
    /// The tokens `[begin, end)`, layer by layer: arrays as in LayerData, of these tokens alone.
    struct Probes {
        Position begin = 0, end = 0;
        std::vector<LayerData> layers;
    };
    template <typename Visit>
    void visit(Position begin, Position end, const Visit& visit) const;

    Shape shape_;
    SequenceInfo sequence_;
    std::vector<Position> wanted_;
    std::vector<LayerData> layers_;
    std::map<Position, Probes> probes_;  ///< by moment
};

}  // namespace kvtape::live
