#include "policies/parts/scored.hpp"

#include "core/error.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/finite.hpp"

#include <algorithm>
#include <limits>
#include <string>

namespace kvtape {
namespace {

/// How far down a ranking its best entries within a range go, and how many they are.
struct Reach {
    Position depth = 0;
    Position chosen = 0;
};

/// The best `room` entries of `[begin, end)`, or all there are.
Reach best_within(std::span<const Position> ranking, Position begin, Position end, Position room) {
    const auto within = [=](Position entry) { return begin <= entry && entry < end ? 1 : 0; };
    // Counted by stretches while a whole one still fits: a loop without an exit runs in lanes.
    constexpr Position stretch = 256;
    const auto ranked = static_cast<Position>(ranking.size());
    Reach reach;
    while (room - reach.chosen >= stretch && ranked - reach.depth >= stretch) {
        Position found = 0;
        for (const Position entry : ranking.subspan(static_cast<std::size_t>(reach.depth), stretch))
            found += within(entry);
        reach.chosen += found;
        reach.depth += stretch;
    }
    for (; reach.chosen < room && reach.depth < ranked; ++reach.depth)
        reach.chosen += within(ranking[static_cast<std::size_t>(reach.depth)]);
    return reach;
}

}  // namespace

ScoredSession::ScoredSession(const SessionContext& context)
    : context_(context),
      order_(context.shape),
      heads_(order_.count()) {}

std::vector<Scores> ScoredSession::score_layer(const LayerView& layer) {
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
        head.places.clear();
    });
}

void ScoredSession::make_ranking(const Head& head) {
    if (head.places.size() == head.positions.size())
        return;
    head.ranking = rank(head.scores);
    // Entries without a score stand behind all others.
    head.places = places(head.ranking);
    head.places.resize(head.positions.size(), std::numeric_limits<Position>::max());
}

std::vector<Position> ScoredSession::keep(HeadId id, Position tokens) const {
    const Head& head = at(id);
    const Position held = this->held(id);
    const ByRule rule = by_rule(tokens, held);
    const Position free_end = held - rule.last;
    make_ranking(head);
    const auto [depth, chosen] =
        best_within(head.ranking, rule.first, free_end, tokens - rule.first - rule.last);
    const std::span<const Position> positions = head.positions;
    const std::span<const Position> place = head.places;
    const auto first = static_cast<std::size_t>(rule.first);
    const auto free = static_cast<std::size_t>(free_end - rule.first);
    std::vector<Position> keep(static_cast<std::size_t>(rule.first + chosen + rule.last));
    std::copy_n(positions.begin(), first, keep.begin());
    copy_below(place.subspan(first, free),
               depth,
               positions.subspan(first, free),
               std::span(keep).subspan(first, static_cast<std::size_t>(chosen)));
    std::copy(positions.end() - rule.last, positions.end(), keep.end() - rule.last);
    return keep;
}

Decision ScoredSession::decide(const Block&, const Limit& limit) const {
    return order_.decide(context_.threads,
                         [&](HeadId id) { return keep(id, budget(limit, held(id), id.layer)); });
}

std::vector<float> ScoredSession::scores(HeadId id, const Limit& limit) const {
    const Head& head = at(id);
    if (head.scores.empty())
        return {};
    const auto held = static_cast<Position>(head.positions.size());
    const ByRule rule = by_rule(budget(limit, held, id.layer), held);
    std::vector<float> shown = head.scores;
    shown.resize(head.positions.size(), std::numeric_limits<float>::quiet_NaN());
    std::fill_n(shown.begin(), rule.first, std::numeric_limits<float>::infinity());
    std::fill_n(shown.end() - rule.last, rule.last, std::numeric_limits<float>::infinity());
    return shown;
}

std::vector<Position> ScoredSession::survival(HeadId id) const {
    const Head& head = at(id);
    const Position held = this->held(id);
    make_ranking(head);
    std::vector<Position> from(head.positions.size());  // 0: not kept yet
    Position kept = 0, tokens = 0;
    auto next = head.ranking.begin();
    ByRule before;
    for (Position limit = 1; kept < held && limit <= 2 * held; ++limit) {
        const Position more = budget({.tokens = limit, .ratio = std::nullopt}, held, id.layer);
        const ByRule rule = by_rule(more, held);
        if (more < tokens || rule.first < before.first || rule.last < before.last)
            return {};
        const auto keep = [&](Position entry) {
            Position& first = from[static_cast<std::size_t>(entry)];
            kept += first == 0 ? 1 : 0;
            first = first == 0 ? limit : first;
        };
        for (Position entry = before.first; entry < rule.first; ++entry)
            keep(entry);
        for (Position entry = held - rule.last; entry < held - before.last; ++entry)
            keep(entry);
        for (; kept < more && next != head.ranking.end(); ++next)
            keep(*next);
        if (kept > more)
            return {};
        tokens = more;
        before = rule;
    }
    return kept == held ? from : std::vector<Position>();
}

}  // namespace kvtape
