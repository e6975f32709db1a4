#include "policies/parts/head_budgets.hpp"

#include "core/topk.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvtape {

HeadBudgets::HeadBudgets(double alpha, Compat compat, const ScoredSession& base, const Shape& shape)
    : alpha_(alpha),
      compat_(compat),
      base_(base),
      kv_heads_(shape.kv_heads),
      rankings_(static_cast<std::size_t>(shape.layers)) {}

void HeadBudgets::observe(std::int32_t layer) {
    std::vector<float> scores;
    std::vector<Entry> entries;
    for (std::int32_t head = 0; head < kv_heads_; ++head) {
        const Scores& own = base_.raw_scores({layer, head});
        scores.insert(scores.end(), own.begin(), own.end());
        for (Position entry = 0; entry < std::ssize(own); ++entry)
            entries.push_back({head, entry});
    }
    std::vector<Entry>& ranking = rankings_[static_cast<std::size_t>(layer)];
    ranking.clear();
    ranking.reserve(entries.size());
    for (const Position place : rank(scores))
        ranking.push_back(entries[static_cast<std::size_t>(place)]);
}

std::vector<Position> HeadBudgets::tokens(std::int32_t layer, const Limit& limit) const {
    return compat_ == Compat::kvpress ? with_floor(layer, limit) : shrunk_to_mean(layer, limit);
}

/// What each head keeps by rule when all keep `tokens`.
std::vector<ByRule> HeadBudgets::rules(std::int32_t layer, Position tokens) const {
    std::vector<ByRule> found;
    for (std::int32_t head = 0; head < kv_heads_; ++head)
        found.push_back(base_.rule({layer, head}, std::min(tokens, base_.held({layer, head}))));
    return found;
}

bool HeadBudgets::is_free(const Entry& entry,
                          std::int32_t layer,
                          const std::vector<ByRule>& rules) const {
    const ByRule& rule = rules[static_cast<std::size_t>(entry.head)];
    return entry.entry >= rule.first && entry.entry < base_.held({layer, entry.head}) - rule.last;
}

/// The authors' form (Ada-SnapKV): a head gets its share of the layer's best free entries,
/// drawn towards the mean by alpha, and what it keeps by rule on top.
std::vector<Position> HeadBudgets::shrunk_to_mean(std::int32_t layer, const Limit& limit) const {
    const std::vector<ByRule> by_rule = rules(layer, limit.tokens);
    std::vector<Position> share(heads()), tokens(heads());
    std::int64_t room = 0;
    for (const ByRule& rule : by_rule)
        room += std::max(0, limit.tokens - rule.first - rule.last);
    for (const Entry& entry : rankings_[static_cast<std::size_t>(layer)]) {
        if (room == 0)
            break;
        if (!is_free(entry, layer, by_rule))
            continue;
        ++share[static_cast<std::size_t>(entry.head)];
        --room;
    }
    for (std::size_t head = 0; head < tokens.size(); ++head) {
        const Position ruled = by_rule[head].first + by_rule[head].last;
        const Position held = base_.held({layer, static_cast<std::int32_t>(head)});
        const double base = std::max(0, limit.tokens - ruled);
        const double own = (1.0 - alpha_) * share[head] + std::floor(alpha_ * base);
        tokens[head] = std::min(held, ruled + static_cast<Position>(std::nearbyint(own)));
        if (limit.tokens >= held)
            tokens[head] = held;
    }
    return tokens;
}

/// AdaKVPress: every head is sure of its best floor(alpha * B); the rest of the layer's total
/// goes to the best entries of all heads.
std::vector<Position> HeadBudgets::with_floor(std::int32_t layer, const Limit& limit) const {
    std::vector<Position> tokens(heads());
    std::int64_t room = 0;
    Position most = 0;
    for (std::size_t head = 0; head < tokens.size(); ++head) {
        const Position held = base_.held({layer, static_cast<std::int32_t>(head)});
        const Position budget = kvpress_tokens(limit, held);
        most = std::max(most, budget);
        room += budget;
    }
    const Position sure =
        alpha_ > 0.0 ? std::max(1, static_cast<Position>(std::floor(alpha_ * most))) : 0;
    room -= static_cast<std::int64_t>(tokens.size()) * sure;
    const auto take = [&](std::size_t head, Position count) {
        for (; count > 0 && room > 0; --count)
            room -= ++tokens[head] > sure ? 1 : 0;
    };
    // What is kept by rule stands above every score, in the order of the heads, and a window
    // that alone exceeds the budget competes whole.
    std::vector<ByRule> by_rule = rules(layer, most);
    if (by_rule[0].first + by_rule[0].last >= most)
        by_rule = rules(layer, std::numeric_limits<Position>::max());
    for (std::size_t head = 0; head < tokens.size(); ++head)
        take(head, by_rule[head].first + by_rule[head].last);
    for (const Entry& entry : rankings_[static_cast<std::size_t>(layer)])
        if (is_free(entry, layer, by_rule))
            take(static_cast<std::size_t>(entry.head), 1);
    for (std::size_t head = 0; head < tokens.size(); ++head)
        tokens[head] =
            std::clamp(tokens[head], sure, base_.held({layer, static_cast<std::int32_t>(head)}));
    return tokens;
}

}  // namespace kvtape
