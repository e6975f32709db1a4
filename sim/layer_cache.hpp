#pragma once

#include "core/decision.hpp"
#include "policies/policy.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace kvtape {

/// What a run asks of the layers it is shown.
struct Demand {
    Needs needs;
    QuerySource source = QuerySource::agnostic;
    bool attends = false;  ///< queries behind the context add to the column sums
    /// Set where query statistics are computed from the recorded queries: how to turn these back.
    std::optional<Rotation> turned = {};
};

/// What must be loaded of a layer.
LayerParts parts_for(const Demand& demand);

/// What must be loaded for both.
LayerParts operator|(const LayerParts& a, const LayerParts& b);

/// What the KV heads of one layer hold while the tokens of a recorded sequence go through, block by
/// block: views onto the loaded layer until something is evicted, copies of what stayed from then
/// on, merged keys and values included.
///
/// Attention that the recording does not hold is recomputed from recorded queries over the keys
/// that are held at that time.
class LayerCache {
  public:
    /// `sequence` and `demand` are kept by reference.
    LayerCache(const Shape& shape,
               const SequenceInfo& sequence,
               const Demand& demand,
               std::int32_t layer);

    /// Takes in the tokens of a block that begins where the one before ended. `data` is the loaded
    /// layer, and used until the next call; `output_projection` is W_o where it is needed.
    void enter(const Block& block,
               const LayerData& data,
               const std::vector<float>& output_projection);

    /// What a policy sees at the end of the block. Valid until `apply` or the next `enter`.
    LayerView view() const;

    /// Positions that a head holds, ascending.
    const std::vector<Position>& positions(std::int32_t head) const {
        return held_[static_cast<std::size_t>(head)].positions;
    }

    /// Drops what is not kept and replaces what was merged.
    void apply(const Decision& decision);

    /// Lets go of the data and of the copies of keys and values; the next `enter` takes them from
    /// its data, and `apply` needs none. Not after a merge.
    void release();

  private:
    struct Held {
        std::vector<Position> positions;
        std::vector<float> keys, values;  ///< [held, head_dim] unless the rows lie in the data
        bool copied = false;              ///< keys and values are our own
        bool released = false;            ///< until the next block enters
        Matrix column_sums;               ///< [group, held], where needed
    };

    Eigen::Index dim() const { return shape_.head_dim; }
    MatrixView rows(const Held& held,
                    const std::vector<float>& own,
                    const std::vector<float>& tensor,
                    std::int32_t head) const;
    void append(Held& held, const Block& block, std::int32_t head) const;
    Matrix column_sums(const Held& held, std::int32_t head);
    QueryStatistics statistics(std::int32_t head);
    Repetition repetition(std::int32_t head) const;
    /// Recorded queries of `[begin, end)`, and what comes with them.
    enum class With { nothing, normalisers, keys };
    Observation observation(std::int32_t head, Position begin, Position end, With with);
    Observation voters(std::int32_t head);
    void drop(Held& held, const std::vector<Position>& keep, std::int32_t head) const;
    void replace(Held& held, const Merges& merges) const;

    const Shape& shape_;
    const SequenceInfo& sequence_;
    const Demand& demand_;
    std::int32_t layer_;
    Block block_;
    const LayerData* data_ = nullptr;
    const std::vector<float>* output_projection_ = nullptr;
    std::vector<Held> held_;
    std::vector<HeadView> heads_;
    std::deque<std::vector<float>> copies_;
    std::deque<std::vector<Position>> voters_;
};

}  // namespace kvtape
