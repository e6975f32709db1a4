#include "policies/parts/scored.hpp"

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/finite.hpp"

#include <algorithm>
#include <limits>
#include <string>

namespace kvtape {

ScoredSession::ScoredSession(const SessionContext& context)
    : context_(context),
      heads_(static_cast<std::size_t>(context.shape.layers) *
             static_cast<std::size_t>(context.shape.kv_heads)) {}

std::size_t ScoredSession::index(HeadId id) const {
    return static_cast<std::size_t>(id.layer) * static_cast<std::size_t>(context_.shape.kv_heads) +
           static_cast<std::size_t>(id.head);
}

std::vector<Scores> ScoredSession::score_layer(const LayerView& layer) const {
    std::vector<Scores> scores(layer.heads.size());
    parallel_for(
        scores.size(), context_.threads, [&](std::size_t i) { scores[i] = score(layer.heads[i]); });
    return scores;
}

void ScoredSession::observe(const LayerView& layer) {
    std::vector<Scores> scores = score_layer(layer);
    parallel_for(layer.heads.size(), context_.threads, [&](std::size_t i) {
        const HeadView& view = layer.heads[i];
        check_scores(view, scores[i]);
        Head& head = at(view.id);
        head.positions.assign(view.positions.begin(), view.positions.end());
        head.scores = std::move(scores[i]);
        head.ranking.clear();
    });
}

const std::vector<Position>& ScoredSession::ranking(const Head& head) {
    if (head.ranking.size() != head.scores.size())
        head.ranking = rank(head.scores);
    return head.ranking;
}

std::vector<Position> ScoredSession::cut(const Head& head, const Limit& limit) const {
    const auto held = static_cast<Position>(head.positions.size());
    const Position tokens = budget(limit, held);
    const ByRule rule = by_rule(tokens, held);
    std::vector<char> kept(head.positions.size());
    std::fill_n(kept.begin(), rule.first, char{1});
    std::fill_n(kept.end() - rule.last, rule.last, char{1});
    Position missing = tokens - rule.first - rule.last;
    for (const Position entry : ranking(head)) {
        if (missing <= 0)
            break;
        char& mark = kept[static_cast<std::size_t>(entry)];
        missing -= mark == 0 ? 1 : 0;
        mark = 1;
    }
    std::vector<Position> keep;
    keep.reserve(static_cast<std::size_t>(tokens));
    for (std::size_t i = 0; i < kept.size(); ++i)
        if (kept[i] != 0)
            keep.push_back(head.positions[i]);
    return keep;
}

Decision ScoredSession::decide(const Block&, const Limit& limit) const {
    const std::int32_t kv_heads = context_.shape.kv_heads;
    Decision decision(context_.shape.layers, kv_heads);
    parallel_for(heads_.size(), context_.threads, [&](std::size_t i) {
        const auto number = static_cast<std::int32_t>(i);
        decision[{number / kv_heads, number % kv_heads}] = cut(heads_[i], limit);
    });
    return decision;
}

std::vector<float> ScoredSession::scores(HeadId id, const Limit& limit) const {
    const Head& head = at(id);
    if (head.scores.empty())
        return {};
    const auto held = static_cast<Position>(head.positions.size());
    const ByRule rule = by_rule(budget(limit, held), held);
    std::vector<float> shown = head.scores;
    shown.resize(head.positions.size(), std::numeric_limits<float>::quiet_NaN());
    std::fill_n(shown.begin(), rule.first, std::numeric_limits<float>::infinity());
    std::fill_n(shown.end() - rule.last, rule.last, std::numeric_limits<float>::infinity());
    return shown;
}

}  // namespace kvtape
