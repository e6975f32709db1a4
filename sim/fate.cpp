#include "sim/fate.hpp"

#include <algorithm>
#include <limits>

namespace kvtape {

Fate::Fate(const Shape& shape,
           std::vector<std::int32_t> layers,
           Position tokens,
           StoreScores scores)
    : layers_(std::move(layers)),
      tokens_(tokens) {
    const std::size_t size =
        static_cast<std::size_t>(shape.kv_heads) * static_cast<std::size_t>(tokens);
    fates_.resize(layers_.size());
    for (LayerFate& fate : fates_) {
        fate.evicted_at.assign(size, -1);
        if (scores == StoreScores::yes)
            fate.scores.assign(size, std::numeric_limits<float>::quiet_NaN());
    }
}

void Fate::settle(std::size_t index,
                  std::int32_t head,
                  std::int32_t block,
                  std::span<const Position> held,
                  const Decision& decision) {
    LayerFate& fate = fates_[index];
    const HeadId id{layers_[index], head};
    const std::span<std::int32_t> evicted_at =
        std::span(fate.evicted_at).subspan(row(head), static_cast<std::size_t>(tokens_));
    const bool gapless = !held.empty() && held.back() - held.front() + 1 == std::ssize(held);
    if (gapless)
        std::fill_n(evicted_at.begin() + held.front(), held.size(), block);
    else
        for (const Position position : held)
            evicted_at[static_cast<std::size_t>(position)] = block;
    for (const Position position : decision[id])
        evicted_at[static_cast<std::size_t>(position)] = -1;
    if (decision.merging() == Merging::no)
        return;
    const Merges& merges = decision.merges(id);
    if (fate.merged_into.empty() && !merges.absorbed.empty())
        fate.merged_into.assign(fate.evicted_at.size(), -1);
    for (const Absorbed& absorbed : merges.absorbed)
        fate.merged_into[row(head) + static_cast<std::size_t>(absorbed.from)] = absorbed.into;
    for (const Position position : merges.changed)
        fate.merged.entries.push_back({.block = block, .kv_head = head, .position = position});
    fate.merged.keys.insert(fate.merged.keys.end(), merges.keys.begin(), merges.keys.end());
    fate.merged.values.insert(fate.merged.values.end(), merges.values.begin(), merges.values.end());
}

void Fate::note_scores(std::size_t index,
                       std::int32_t head,
                       std::span<const Position> held,
                       const Session& session,
                       const Limit& limit) {
    LayerFate& fate = fates_[index];
    if (fate.scores.empty())
        return;
    const std::vector<float> scores = session.scores({layers_[index], head}, limit);
    for (std::size_t i = 0; i < scores.size(); ++i)
        fate.scores[row(head) + static_cast<std::size_t>(held[i])] = scores[i];
}

Fate Fate::first(Position tokens) const {
    Fate cut = *this;
    cut.tokens_ = tokens;
    for (LayerFate& fate : cut.fates_) {
        const auto shorten = [&](auto& rows) {
            auto to = rows.begin();
            for (auto from = rows.begin(); from != rows.end(); from += tokens_)
                to = std::copy_n(from, tokens, to);
            rows.erase(to, rows.end());
        };
        shorten(fate.evicted_at);
        shorten(fate.merged_into);
        shorten(fate.scores);
    }
    return cut;
}

std::int64_t Fate::kept(std::size_t index, std::int32_t head, Position end) const {
    const auto first = fates_[index].evicted_at.begin() + static_cast<std::ptrdiff_t>(row(head));
    return std::count(first, first + end, -1);
}

}  // namespace kvtape
