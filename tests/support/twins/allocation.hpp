#pragma once

#include "core/types.hpp"
#include "tests/support/policy_twins.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

/// How budgets are shared out (baselines.md 0.2, B4 and B5), in double precision.
namespace kvtape::reference {

/// The part of the context that kvpress keeps at a ratio: 1 - (1 - ratio), in its doubles.
inline double kvpress_share(const Ratio& ratio) {
    const double removed = static_cast<double>(ratio.denominator - ratio.numerator) /
                           static_cast<double>(ratio.denominator);
    return 1.0 - removed;
}

inline Position kvpress_tokens(const Ratio& ratio, Position held) {
    return std::max(1, static_cast<Position>(std::trunc(held * kvpress_share(ratio))));
}

struct Pyramid {
    Position window = 64;
    double beta = 20.0;
};

/// The authors' whole numbers: what layer `layer` of `layers` keeps, the window included.
inline double pyramid_tokens(
    double capacity, double held, int layer, int layers, const Pyramid& options) {
    const double base = capacity - options.window, past = held - options.window;
    if (held <= capacity)
        return held;
    if (base <= 0.0 || held < 2.0 * base || layers == 1)
        return capacity;
    double least = std::floor(base / options.beta), most = 2.0 * base - least;
    if (most >= past) {
        most = past;
        least = 2.0 * base - most;
    }
    return most - layer * std::floor((most - least) / (layers - 1)) + options.window;
}

/// The real numbers of kvpress, the window inside of `average`.
inline double pyramid_tokens_kvpress(
    double average, double held, int layer, int layers, const Pyramid& options) {
    double least = average / options.beta, most = 2.0 * average - least;
    if (most >= held - options.window) {
        most = held - options.window;
        least = 2.0 * average - most;
    }
    const bool uniform = layers == 1 || !(held >= most && most >= least && least >= options.window);
    return std::nearbyint(uniform ? average : most - layer * (most - least) / (layers - 1));
}

/// An entry of a layer.
struct Contender {
    double score = 0.0;  ///< infinite where it stays by rule
    std::size_t head = 0;
    std::size_t entry = 0;
};

/// Best first; equal ones by head, then by position.
inline void sort_contenders(std::vector<Contender>& all) {
    std::stable_sort(all.begin(), all.end(), [](const Contender& a, const Contender& b) {
        return a.score > b.score;
    });
}

/// How many tokens each head keeps in the authors' form. `scores` by head: infinite where an entry
/// stays by rule, NaN where it has none.
inline std::vector<Position> ada_tokens(const Table& scores, Position budget, double alpha) {
    std::vector<Contender> free;
    Row ruled(scores.size()), base(scores.size()), share(scores.size());
    double room = 0.0;
    for (std::size_t head = 0; head < scores.size(); ++head) {
        for (std::size_t entry = 0; entry < scores[head].size(); ++entry) {
            ruled[head] += std::isinf(scores[head][entry]) ? 1.0 : 0.0;
            if (std::isfinite(scores[head][entry]))
                free.push_back({scores[head][entry], head, entry});
        }
        base[head] = std::max(0.0, budget - ruled[head]);
        room += base[head];
    }
    sort_contenders(free);
    for (std::size_t i = 0; i < free.size() && static_cast<double>(i) < room; ++i)
        share[free[i].head] += 1.0;
    std::vector<Position> tokens;
    for (std::size_t head = 0; head < scores.size(); ++head) {
        const double held = static_cast<double>(scores[head].size());
        const double own =
            std::nearbyint((1.0 - alpha) * share[head] + std::floor(alpha * base[head]));
        tokens.push_back(
            static_cast<Position>(budget >= held ? held : std::min(held, ruled[head] + own)));
    }
    return tokens;
}

/// What each head keeps in the form of kvpress: its safeguard, and what is left of the layer when
/// the lowest others are gone.
inline std::vector<std::vector<Position>> ada_kept_kvpress(const Table& scores,
                                                           Position budget,
                                                           double alpha) {
    const Position sure = alpha > 0.0 ? std::max(1, static_cast<Position>(alpha * budget)) : 0;
    std::vector<std::vector<Position>> kept(scores.size());
    std::vector<Contender> others;
    for (std::size_t head = 0; head < scores.size(); ++head) {
        std::vector<Contender> own;
        for (std::size_t entry = 0; entry < scores[head].size(); ++entry)
            own.push_back(
                {std::isnan(scores[head][entry]) ? -INFINITY : scores[head][entry], head, entry});
        sort_contenders(own);
        for (std::size_t i = 0; i < own.size(); ++i)
            if (static_cast<Position>(i) < sure)
                kept[head].push_back(static_cast<Position>(own[i].entry));
            else
                others.push_back(own[i]);
    }
    std::stable_sort(others.begin(), others.end(), [](const Contender& a, const Contender& b) {
        return a.head != b.head ? a.head < b.head : a.entry < b.entry;
    });
    sort_contenders(others);
    others.resize(scores.size() * static_cast<std::size_t>(budget - sure));
    for (const Contender& contender : others)
        kept[contender.head].push_back(static_cast<Position>(contender.entry));
    for (std::vector<Position>& head : kept)
        std::sort(head.begin(), head.end());
    return kept;
}

}  // namespace kvtape::reference
