#pragma once

#include "core/types.hpp"
#include "tests/support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

/// EMS written down from its description in double precision, entry by entry.
namespace kvtape::reference {

struct EmsOptions {
    std::size_t recent = 32;  ///< last entries, always kept
    std::size_t sinks = 0;
    double alpha = 1.0;
    double gamma = 4.0;
    double rho = 0.98;
    double tau = 0.5;
    bool literal = false;
    bool into_protected = false;
    bool inherit = true;
};

/// One entry of a KV head.
struct EmsEntry {
    Position position = 0;
    std::vector<double> key, value;
    double global = 0.0;  ///< attention of all queries so far
    double local = 0.0;   ///< of the last ones
};

struct EmsStep {
    std::vector<EmsEntry> kept;
    std::map<Position, Position> into;  ///< absorbed entry -> center
    /// The smallest distance, relative to what is compared, at which a choice would have fallen
    /// otherwise: decisions in float32 are judged where it is not tiny.
    double margin = INFINITY;
};

inline double cosine(const std::vector<double>& a, const std::vector<double>& b) {
    const double lengths = std::sqrt(std::inner_product(a.begin(), a.end(), a.begin(), 0.0)) *
                           std::sqrt(std::inner_product(b.begin(), b.end(), b.begin(), 0.0));
    return lengths > 0.0 ? std::inner_product(a.begin(), a.end(), b.begin(), 0.0) / lengths : 0.0;
}

/// The Global-Local score up to the factor common to all entries.
inline double ems_score(const EmsEntry& entry, double queries, double voters, double alpha = 1.0) {
    return std::max(alpha * entry.global / queries, entry.local / voters);
}

/// How many entries each of several heads keeps when they share `budget` entries each.
inline std::vector<std::size_t> ems_shares(const std::vector<std::vector<double>>& scores,
                                           std::size_t budget,
                                           const EmsOptions& options,
                                           double& margin) {
    struct Candidate {
        double score;
        std::size_t head;
    };
    const std::size_t by_rule = options.sinks + options.recent;
    const std::size_t sure = std::min(budget - by_rule, budget / 5);
    std::vector<Candidate> candidates;
    for (std::size_t head = 0; head < scores.size(); ++head) {
        std::vector<double> own(scores[head].begin() + static_cast<std::ptrdiff_t>(options.sinks),
                                scores[head].end() - static_cast<std::ptrdiff_t>(options.recent));
        std::sort(own.rbegin(), own.rend());
        const double total = std::accumulate(scores[head].begin(), scores[head].end(), 0.0);
        for (std::size_t i = sure; i < own.size(); ++i)
            candidates.push_back({own[i] / total, head});
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
        return a.score > b.score;
    });
    std::vector<std::size_t> shares(scores.size(), by_rule + sure);
    const std::size_t room = scores.size() * (budget - by_rule - sure);
    for (std::size_t i = 0; i < std::min(room, candidates.size()); ++i)
        ++shares[candidates[i].head];
    if (room > 0 && room < candidates.size())
        margin = std::min(margin,
                          std::abs(candidates[room - 1].score - candidates[room].score) /
                              std::max(candidates[room].score, 1e-30));
    return shares;
}

/// `center` with all `members` merged into it, weighed by `scores`.
inline EmsEntry ems_merge(const EmsEntry& center,
                          const std::vector<EmsEntry>& members,
                          const std::vector<double>& scores,
                          bool inherit) {
    const double total = std::accumulate(scores.begin(), scores.end(), 0.0);
    EmsEntry merged = center;
    std::vector<double> direction(center.key.size());
    merged.value.assign(center.value.size(), 0.0);
    merged.global = inherit ? 0.0 : center.global;
    double length = 0.0;
    for (std::size_t m = 0; m < members.size(); ++m) {
        const EmsEntry& member = members[m];
        const double weight =
            total > 0.0 ? scores[m] / total : 1.0 / static_cast<double>(members.size());
        const double own = std::sqrt(
            std::inner_product(member.key.begin(), member.key.end(), member.key.begin(), 0.0));
        length += weight * own;
        merged.global += inherit ? member.global : 0.0;
        for (std::size_t i = 0; i < direction.size(); ++i) {
            merged.value[i] += weight * member.value[i];
            direction[i] += own > 0.0 ? weight * member.key[i] / own : 0.0;
        }
    }
    const double clarity =
        std::sqrt(std::inner_product(direction.begin(), direction.end(), direction.begin(), 0.0));
    if (clarity >= 1e-6)
        for (std::size_t i = 0; i < direction.size(); ++i)
            merged.key[i] = length * direction[i] / clarity;
    return merged;
}

/// Compresses `held`, ascending and more than `budget`, to `budget` entries.
inline EmsStep ems_compress(const std::vector<EmsEntry>& held,
                            double queries,
                            double voters,
                            std::size_t budget,
                            const EmsOptions& options) {
    const std::size_t count = held.size();
    EmsStep step;
    if (budget < options.sinks + options.recent) {
        step.kept.assign(held.end() - static_cast<std::ptrdiff_t>(budget), held.end());
        return step;
    }
    std::vector<double> score;
    for (const EmsEntry& entry : held)
        score.push_back(ems_score(entry, queries, voters, options.alpha));
    std::vector<std::size_t> order(count - options.sinks - options.recent);
    std::iota(order.begin(), order.end(), options.sinks);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return score[a] > score[b];
    });
    const auto cut =
        order.begin() + static_cast<std::ptrdiff_t>(budget - options.sinks - options.recent);
    std::vector<std::size_t> centers(order.begin(), cut), rest(cut, order.end());
    const auto part = [&](double a, double b) {
        step.margin = std::min(step.margin, std::abs(a - b) / std::max(std::abs(a), 1e-30));
    };
    if (!centers.empty() && !rest.empty())
        part(score[centers.back()], score[rest.front()]);

    const double total = std::accumulate(score.begin(), score.end(), 0.0);
    double covered = total;
    for (const std::size_t entry : rest)
        covered -= score[entry];
    std::size_t merging = 0;
    if (options.gamma > 0.0)
        part(total, covered + (1.0 - options.rho) * total);
    while (merging < rest.size() && covered < options.rho * total) {
        covered += score[rest[merging++]];
        part(total, covered + (1.0 - options.rho) * total);
    }
    const double most = std::floor(options.gamma * static_cast<double>(budget));
    merging = static_cast<std::size_t>(std::min(static_cast<double>(merging), most));
    if (merging > 0 && merging < rest.size())
        part(score[rest[merging - 1]], score[rest[merging]]);

    const auto is_protected = [&](std::size_t entry) {
        return entry < options.sinks || entry >= count - options.recent;
    };
    for (std::size_t entry = 0; entry < count; ++entry)
        if (options.into_protected && is_protected(entry))
            centers.push_back(entry);
    std::sort(centers.begin(), centers.end());
    std::map<std::size_t, std::vector<std::size_t>> classes;
    for (std::size_t r = 0; r < merging; ++r) {
        const std::size_t entry = rest[r];
        double best = -INFINITY, second = -INFINITY;
        std::size_t best_center = 0;
        for (const std::size_t center : centers) {
            double keys = cosine(held[entry].key, held[center].key);
            double values = cosine(held[entry].value, held[center].value);
            if (!options.literal) {
                keys = std::max(keys, 0.0);
                values = std::max(values, 0.0);
            }
            const double likeness = keys * values;
            if (likeness > best) {
                second = best;
                best = likeness;
                best_center = center;
            } else {
                second = std::max(second, likeness);
            }
        }
        if (centers.empty())
            continue;
        part(options.tau, best);
        if (best < options.tau)
            continue;
        part(best, second);
        classes[best_center].push_back(entry);
        step.into[held[entry].position] = held[best_center].position;
    }
    for (std::size_t entry = 0; entry < count; ++entry) {
        const bool is_center = std::binary_search(centers.begin(), centers.end(), entry);
        if (!is_center && is_protected(entry))
            step.kept.push_back(held[entry]);
        if (!is_center)
            continue;
        std::vector<EmsEntry> members = {held[entry]};
        std::vector<double> scores = {score[entry]};
        for (const std::size_t member : classes[entry]) {
            members.push_back(held[member]);
            scores.push_back(score[member]);
        }
        step.kept.push_back(members.size() > 1
                                ? ems_merge(held[entry], members, scores, options.inherit)
                                : held[entry]);
    }
    return step;
}

}  // namespace kvtape::reference
