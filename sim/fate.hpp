#pragma once

#include "core/decision.hpp"
#include "policies/policy.hpp"
#include "trace/decisions.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape {

/// Whether the scores behind decisions are stored with them.
enum class StoreScores { no, yes };

/// What became of every token of one sequence under one policy and budget.
class Fate {
  public:
    /// Of nothing.
    Fate() = default;
    /// `layers` are those that take part, ascending.
    Fate(const Shape& shape, std::vector<std::int32_t> layers, Position tokens, StoreScores scores);

    const std::vector<std::int32_t>& layers() const { return layers_; }
    /// Of `layers()[index]`, as a decision file holds it.
    const LayerFate& operator[](std::size_t index) const { return fates_[index]; }

    /// Notes that of what `layers()[index]`, KV head `head` held at the end of block `block`
    /// (`held`), `decision` keeps a part, and what it merged. Blocks come in order, and in each of
    /// them the heads of a layer.
    void settle(std::size_t index,
                std::int32_t head,
                std::int32_t block,
                std::span<const Position> held,
                const Decision& decision);
    /// Notes the scores of what is held; nothing when scores are not stored, or there are none.
    void note_scores(std::size_t index,
                     std::int32_t head,
                     std::span<const Position> held,
                     const Session& session,
                     const Limit& limit);

    /// The same of the first `tokens` tokens alone.
    Fate first(Position tokens) const;

    /// How many of the tokens before `end` one KV head still holds.
    std::int64_t kept(std::size_t index, std::int32_t head, Position end) const;

  private:
    std::size_t row(std::int32_t head) const {
        return static_cast<std::size_t>(head) * static_cast<std::size_t>(tokens_);
    }
    std::vector<std::int32_t> layers_;
    Position tokens_ = 0;
    std::vector<LayerFate> fates_;
};

}  // namespace kvtape
