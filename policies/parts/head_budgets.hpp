#pragma once

#include "core/parallel.hpp"
#include "policies/parts/budget.hpp"
#include "policies/parts/scored.hpp"

#include <cstdint>
#include <vector>

namespace kvtape {

/// AdaKV (arXiv:2407.11550): shares out the budget of a layer among its heads by how their scores
/// compare.
class HeadBudgets {
  public:
    /// `alpha` is the share of the budget that every head is sure of; `base` is kept by reference.
    HeadBudgets(double alpha, Compat compat, const ScoredSession& base, const Shape& shape);

    /// After `base` observed a layer.
    void observe(std::int32_t layer);
    /// How many entries each head of the layer keeps.
    std::vector<Position> tokens(std::int32_t layer, const Limit& limit) const;
    /// A decision with these numbers, layers at once on the threads of `context`: `keep(id,
    /// tokens)` is what a head keeps.
    template <typename Keep>
    Decision decide(const SessionContext& context, const Limit& limit, const Keep& keep) const {
        const Shape& shape = context.shape;
        Decision decision(shape.layers, shape.kv_heads);
        parallel_for(static_cast<std::size_t>(shape.layers), context.threads, [&](std::size_t i) {
            const auto layer = static_cast<std::int32_t>(i);
            const std::vector<Position> counts = tokens(layer, limit);
            for (std::int32_t head = 0; head < shape.kv_heads; ++head)
                decision[{layer, head}] =
                    keep(HeadId{layer, head}, counts[static_cast<std::size_t>(head)]);
        });
        return decision;
    }

  private:
    struct Entry {
        std::int32_t head = 0;
        Position entry = 0;  ///< index into what the head holds
    };
    std::size_t heads() const { return static_cast<std::size_t>(kv_heads_); }
    std::vector<ByRule> rules(std::int32_t layer, Position tokens) const;
    bool is_free(const Entry& entry, std::int32_t layer, const std::vector<ByRule>& rules) const;
    std::vector<Position> shrunk_to_mean(std::int32_t layer, const Limit& limit) const;
    std::vector<Position> with_floor(std::int32_t layer, const Limit& limit) const;

    double alpha_;
    Compat compat_;
    const ScoredSession& base_;
    std::int32_t kv_heads_;
    /// By layer: all scored entries, best first; equal scores by head, then by position.
    std::vector<std::vector<Entry>> rankings_;
};

}  // namespace kvtape
