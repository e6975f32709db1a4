#include "policies/parts/ems_classes.hpp"

#include "core/reduce.hpp"
#include "core/topk.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvtape {
namespace {

/// The share of the budget of a layer's heads that each of them is sure of.
constexpr double sure_share = 0.2;

double score_of(const EmsRanking& head, Position entry) {
    return static_cast<double>(head.scores[static_cast<std::size_t>(entry)]);
}

Position held(const EmsRanking& head) {
    return static_cast<Position>(head.scores.size());
}

/// The entries that are not protected, best first.
std::vector<Position> judged(const EmsRanking& head) {
    std::vector<Position> entries;
    entries.reserve(head.order.size());
    for (const Position entry : head.order)
        if (entry >= head.rule.first && entry < held(head) - head.rule.last)
            entries.push_back(entry);
    return entries;
}

/// How many of `given_way`, best first, are worth merging.
std::ptrdiff_t worth_merging(const EmsRanking& head,
                             std::span<const Position> given_way,
                             Position tokens,
                             const EmsWorth& worth) {
    std::vector<double> left;
    left.reserve(given_way.size());
    for (const Position entry : given_way)
        left.push_back(score_of(head, entry));
    const double total = ordered_sum(head.scores);
    double covered = total - ordered_sum(std::span<const double>(left));
    std::ptrdiff_t needed = 0;
    while (needed < std::ssize(left) && covered < worth.rho * total)
        covered += left[static_cast<std::size_t>(needed++)];
    const double most = std::floor(worth.gamma * tokens);
    return static_cast<double>(needed) <= most ? needed : static_cast<std::ptrdiff_t>(most);
}

}  // namespace

EmsClasses classify(const EmsRanking& head, Position tokens, const EmsWorth& worth) {
    const std::vector<Position> order = judged(head);
    const auto kept = order.begin() + (tokens - head.rule.first - head.rule.last);
    const auto end = kept + worth_merging(head, {kept, order.end()}, tokens, worth);
    EmsClasses classes{.kept = std::vector<Position>(static_cast<std::size_t>(head.rule.first)),
                       .centers = {order.begin(), kept},
                       .merging = {kept, end}};
    std::sort(classes.centers.begin(), classes.centers.end());
    std::sort(classes.merging.begin(), classes.merging.end());
    std::iota(classes.kept.begin(), classes.kept.end(), 0);
    classes.kept.insert(classes.kept.end(), classes.centers.begin(), classes.centers.end());
    for (Position entry = held(head) - head.rule.last; entry < held(head); ++entry)
        classes.kept.push_back(entry);
    return classes;
}

std::vector<Position> shared_tokens(std::span<const EmsRanking> heads, Position tokens) {
    std::vector<Position> share;
    std::vector<float> scores;
    std::vector<std::size_t> owner;
    std::ptrdiff_t room = std::ssize(heads) * tokens;
    for (const EmsRanking& head : heads) {
        const Position by_rule = head.rule.first + head.rule.last;
        const auto sure = static_cast<Position>(std::floor(sure_share * tokens));
        share.push_back(std::min({by_rule + sure, tokens, held(head)}));
        room -= share.back();
        const double total = ordered_sum(head.scores);
        const std::vector<Position> entries = judged(head);
        for (auto i = static_cast<std::size_t>(share.back() - by_rule); i < entries.size(); ++i) {
            const double score = score_of(head, entries[i]);
            scores.push_back(total > 0.0 ? static_cast<float>(score / total) : 0.0f);
            owner.push_back(share.size() - 1);
        }
    }
    for (const Position winner : select_top(scores, room))
        ++share[owner[static_cast<std::size_t>(winner)]];
    return share;
}

}  // namespace kvtape
