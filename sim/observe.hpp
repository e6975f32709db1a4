#pragma once

#include "policies/policy.hpp"
#include "sim/probes.hpp"
#include "trace/trace.hpp"

#include <deque>
#include <vector>

namespace kvtape {

/// Which recorded rows vote for a policy under a source; none for a policy without voters.
RowRange voting_rows(const Needs& needs, QuerySource source, const SequenceInfo& sequence);

/// What must be loaded of a layer so that a policy with `needs` can observe it.
LayerParts parts_for(const Needs& needs, QuerySource source);

/// The context of one loaded layer as a policy with `needs` may see it, and nothing else of it.
/// Holds the copies its views point into; valid while `data` is.
class ContextView {
  public:
    ContextView(const Shape& shape,
                const SequenceInfo& sequence,
                const LayerData& data,
                std::int32_t layer,
                const Needs& needs,
                QuerySource source);

    LayerView view() const { return {.layer = layer_, .block = block_, .heads = heads_}; }

  private:
    std::int32_t layer_;
    Block block_;
    std::vector<Position> positions_;
    std::vector<Position> voters_;
    std::deque<std::vector<float>> copies_;
    std::vector<HeadView> heads_;
};

}  // namespace kvtape
