#pragma once

#include "core/types.hpp"
#include "policies/parts/lsh.hpp"
#include "tests/support/reference.hpp"
#include "trace/trace.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

/// LASER-KV written down from its description, in double precision, one token after the other.
namespace kvtape::reference {

using Point = std::vector<double>;
using Points = std::vector<Point>;

/// Indices chosen, ascending, and how far the closest comparison was from falling the other way,
/// relative to what was compared. Below about 1e-5 float32 may choose otherwise.
struct Chosen {
    std::vector<std::size_t> indices;
    double margin = INFINITY;
};

/// P[Binomial(tables, p^bits) >= 2]: that a point meets another, with which it shares any one bit
/// with probability p, in two tables or more.
inline double meets_twice(double p, int bits, int tables) {
    const double one = std::pow(p, bits);
    return 1.0 - std::pow(1.0 - one, tables) - tables * one * std::pow(1.0 - one, tables - 1);
}

inline Point mean_of(const Points& points, std::size_t begin, std::size_t end) {
    Point mean(points[0].size());
    for (std::size_t i = begin; i < end; ++i)
        for (std::size_t c = 0; c < mean.size(); ++c)
            mean[c] += points[i][c] / static_cast<double>(end - begin);
    return mean;
}

inline double distance(const Point& a, const Point& b, const Point& variance) {
    double sum = 0.0;
    for (std::size_t c = 0; c < a.size(); ++c)
        sum += (a[c] - b[c]) * (a[c] - b[c]) / (variance.empty() ? 1.0 : variance[c] + 1e-8);
    return std::sqrt(sum);
}

/// From a point to the (centred) question.
inline double distance_to(const Points& question, const Point& point, LshTie tie) {
    const std::size_t count = question.size();
    const Point mean = mean_of(question, 0, count);
    double nearest = INFINITY;
    switch (tie) {
        case LshTie::none:
            return 0.0;
        case LshTie::l2:
            return distance(point, mean, {});
        case LshTie::max_sim:
            for (const Point& one : question)
                nearest = std::min(nearest, distance(point, one, {}));
            return nearest;
        case LshTie::mahalanobis: {
            Point variance(mean.size());
            for (const Point& one : question)
                for (std::size_t c = 0; c < mean.size() && count > 1; ++c)
                    variance[c] +=
                        (one[c] - mean[c]) * (one[c] - mean[c]) / static_cast<double>(count - 1);
            return distance(point, mean, variance);
        }
        case LshTie::partitioned_centroid:
            break;
    }
    const std::size_t parts = std::min<std::size_t>(8, std::max<std::size_t>(1, count / 16));
    const std::size_t length = (count + parts - 1) / parts;
    for (std::size_t begin = 0; begin < count; begin += length)
        nearest = std::min(
            nearest,
            distance(point, mean_of(question, begin, std::min(count, begin + length)), {}));
    return nearest;
}

/// The selector that hashes.
class LshTwin {
  public:
    LshTwin(Points candidates, Points question, MatrixView projection, const LshSettings& settings)
        : candidates_(std::move(candidates)),
          question_(std::move(question)),
          projection_(projection),
          settings_(settings) {}

    Chosen select(std::size_t budget) {
        Chosen chosen;
        if (budget >= candidates_.size() || budget == 0) {
            chosen.indices.resize(std::min(budget, candidates_.size()));
            std::iota(chosen.indices.begin(), chosen.indices.end(), std::size_t{0});
            return chosen;
        }
        const Point mean = mean_of(candidates_, 0, candidates_.size());
        for (Points* points : {&candidates_, &question_})
            for (Point& point : *points)
                for (std::size_t c = 0; c < mean.size(); ++c)
                    point[c] -= mean[c];
        hashed_ = hash(candidates_);
        asked_ = hash(question_);
        std::vector<std::size_t> order = ranked(budget);
        order.resize(budget);
        std::sort(order.begin(), order.end());
        chosen.indices = order;
        chosen.margin = margin_;
        return chosen;
    }

  private:
    using Bits = std::vector<std::vector<bool>>;

    Bits hash(const Points& points) {
        Bits all;
        for (const Point& point : points) {
            all.emplace_back();
            double length = 1e-30;
            for (const double x : point)
                length += x * x;
            for (Eigen::Index column = 0; column < projection_.cols(); ++column) {
                double sum = 0.0;
                for (std::size_t c = 0; c < point.size(); ++c)
                    sum += point[c] *
                           static_cast<double>(projection_(static_cast<Eigen::Index>(c), column));
                all.back().push_back(sum > 0.0);
                margin_ = std::min(margin_, std::abs(sum) / std::sqrt(length));
            }
        }
        return all;
    }

    bool same_bucket(std::size_t candidate, std::size_t question, std::size_t table) const {
        const auto bits = static_cast<std::size_t>(settings_.bits);
        for (std::size_t k = table * bits; k < (table + 1) * bits; ++k)
            if (hashed_[candidate][k] != asked_[question][k])
                return false;
        return true;
    }

    int collisions(std::size_t candidate) const {
        int count = 0;
        for (std::size_t table = 0; table < static_cast<std::size_t>(settings_.tables); ++table) {
            bool any = false;
            for (std::size_t q = 0; q < asked_.size(); ++q)
                any = any || same_bucket(candidate, q, table);
            count += any ? 1 : 0;
        }
        return count;
    }

    double mean_collision(std::size_t candidate) const {
        double shared = 0.0;
        for (std::size_t table = 0; table < static_cast<std::size_t>(settings_.tables); ++table)
            for (std::size_t q = 0; q < asked_.size(); ++q)
                shared += same_bucket(candidate, q, table) ? 1.0 : 0.0;
        return shared;
    }

    double best_meeting(std::size_t candidate) const {
        double best = 0.0;
        for (const std::vector<bool>& other : asked_) {
            int equal = 0;
            for (std::size_t k = 0; k < other.size(); ++k)
                equal += hashed_[candidate][k] == other[k] ? 1 : 0;
            best =
                std::max(best,
                         meets_twice(static_cast<double>(equal) / static_cast<double>(other.size()),
                                     settings_.bits,
                                     settings_.tables));
        }
        return best;
    }

    /// At least the best `budget`, best first.
    std::vector<std::size_t> ranked(std::size_t budget) {
        std::vector<std::size_t> order(candidates_.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        const auto by = [&](std::vector<std::size_t>& list, const std::vector<double>& score) {
            std::stable_sort(list.begin(), list.end(), [&](std::size_t a, std::size_t b) {
                return score[a] > score[b];
            });
        };
        std::vector<double> score(candidates_.size());
        if (settings_.rank == LshRank::mean_collision) {
            for (const std::size_t i : order)
                score[i] = mean_collision(i);
            by(order, score);
            return order;
        }
        if (settings_.rank == LshRank::frequency_rank) {
            std::vector<double> near(candidates_.size());
            for (const std::size_t i : order) {
                score[i] = collisions(i);
                near[i] = -distance_to(question_, candidates_[i], settings_.tie);
            }
            for (const std::size_t a : order)
                for (const std::size_t b : order)
                    if (a != b && score[a] == score[b] && settings_.tie != LshTie::none)
                        margin_ = std::min(margin_, std::abs(1.0 - near[a] / near[b]));
            by(order, near);
            by(order, score);
            return order;
        }
        std::vector<std::size_t> survivors, others;
        for (const std::size_t i : order) {
            (collisions(i) >= 2 ? survivors : others).push_back(i);
            score[i] = best_meeting(i);
        }
        if (survivors.size() > budget)
            by(survivors, score);
        survivors.insert(survivors.end(), others.rbegin(), others.rend());
        return survivors;
    }

    Points candidates_, question_;
    MatrixView projection_;
    LshSettings settings_;
    Bits hashed_, asked_;
    double margin_ = INFINITY;
};

struct LaserOptions {
    bool recursive = false;
    bool hashes = true;   ///< any of the picks by hash
    bool attends = true;  ///< any of them by attention
    Position block = 4096;
    std::size_t anchors = 0, window = 0, picks = 0;
    std::int64_t alpha_numerator = 3, alpha_denominator = 4;
    LshSettings lsh;
    bool smoothing = true;
    bool drops_tail = false;  ///< the short last block of the reference
    bool window_softmax = false;
};

/// The whole procedure over one recorded sequence.
class LaserTwin {
  public:
    LaserTwin(const Shape& shape,
              const SequenceInfo& sequence,
              const std::vector<const LayerData*>& layers,
              MatrixView projection,
              const LaserOptions& options)
        : shape_(shape),
          sequence_(sequence),
          layers_(layers),
          projection_(projection),
          options_(options) {}

    struct Outcome {
        std::vector<Position> kept;
        double margin = INFINITY;
    };

    Outcome run() {
        const Position context = sequence_.context_len;
        for (Position start = 0; start < context; start += options_.block)
            step(start, std::min(context, start + options_.block));
        kept_.insert(kept_.end(), tail_.begin(), tail_.end());
        return {kept_, margin_};
    }

  private:
    using Tokens = std::vector<Position>;

    Point key(std::size_t layer, std::int32_t head, Position token) const {
        const float* row = layers_[layer]->keys.data() +
                           (std::int64_t{head} * sequence_.length() + token) * shape_.head_dim;
        return Point(row, row + shape_.head_dim);
    }
    Point query(std::size_t layer, std::int32_t head, Position token) const {
        const auto& positions = sequence_.query_positions;
        const auto row = std::find(positions.begin(), positions.end(), token) - positions.begin();
        const float* first = layers_[layer]->queries.data() +
                             (std::int64_t{head} * std::ssize(positions) + row) * shape_.head_dim;
        return Point(first, first + shape_.head_dim);
    }
    Point vector(Position token) const {
        Points keys;
        for (std::int32_t head = 0; head < shape_.kv_heads; ++head)
            keys.push_back(key(layers_.size() - 1, head, token));
        return mean_of(keys, 0, keys.size());
    }

    /// What the question gives to each of `seen`, over all layers and query heads.
    std::vector<double> attention(const Tokens& seen) const {
        std::vector<double> sums(seen.size());
        for (std::size_t layer = 0; layer < layers_.size(); ++layer)
            for (std::int32_t head = 0; head < shape_.query_heads; ++head)
                for (Position q = sequence_.context_len; q < sequence_.prompt_len; ++q) {
                    Tokens keys = seen;
                    for (Position own = sequence_.context_len; own <= q && !options_.window_softmax;
                         ++own)
                        keys.push_back(own);
                    std::vector<double> logits;
                    const Point asking = query(layer, head, q);
                    for (const Position token : keys) {
                        const Point one = key(layer, head / shape_.group(), token);
                        logits.push_back(
                            shape_.softmax_scale *
                            std::inner_product(one.begin(), one.end(), asking.begin(), 0.0));
                    }
                    const std::vector<double> row = softmax(logits);
                    for (std::size_t i = 0; i < sums.size(); ++i)
                        sums[i] += row[i];
                }
        return sums;
    }

    void step(Position start, Position end) {
        const auto length = static_cast<std::size_t>(end - start);
        const std::size_t anchors =
            static_cast<std::size_t>(start) < options_.anchors
                ? std::min(options_.anchors - static_cast<std::size_t>(start), length)
                : 0;
        const std::size_t window =
            std::max(anchors, length > options_.window ? length - options_.window : std::size_t{0});
        Tokens first, middle, last;
        for (std::size_t i = 0; i < length; ++i)
            (i < anchors  ? first
             : i < window ? middle
                          : last)
                .push_back(start + static_cast<Position>(i));
        Tokens history = options_.smoothing && !options_.recursive ? tail_ : Tokens();
        Tokens settled = kept_;
        if (options_.recursive) {
            const std::size_t sure = std::min(options_.anchors, kept_.size());
            history.assign(kept_.begin() + static_cast<std::ptrdiff_t>(sure), kept_.end());
            settled.resize(sure);
        }
        Tokens candidates = history, seen = options_.window_softmax ? Tokens() : settled;
        if (options_.window_softmax && options_.recursive)
            seen = settled;
        candidates.insert(candidates.end(), middle.begin(), middle.end());
        seen.insert(seen.end(), history.begin(), history.end());
        for (Position token = start; token < end; ++token)
            seen.push_back(token);
        Tokens picked;
        if (!middle.empty() || !options_.drops_tail)
            picked = pick(candidates, seen);
        kept_ = settled;
        kept_.insert(kept_.end(), picked.begin(), picked.end());
        kept_.insert(kept_.end(), first.begin(), first.end());
        if (options_.recursive)
            kept_.insert(kept_.end(), last.begin(), last.end());
        else
            tail_ = last;
        std::sort(kept_.begin(), kept_.end());
    }

    Tokens pick(const Tokens& candidates, const Tokens& seen) {
        const std::size_t count = std::min(options_.picks, candidates.size());
        std::size_t exact = options_.hashes ? 0 : count;
        if (options_.hashes && options_.attends)
            exact = static_cast<std::size_t>(static_cast<std::int64_t>(count) *
                                             options_.alpha_numerator / options_.alpha_denominator);
        const std::vector<double> sums = attention(seen);
        std::vector<std::pair<double, Position>> order;
        for (const Position token : candidates)
            order.emplace_back(-sums[static_cast<std::size_t>(
                                   std::find(seen.begin(), seen.end(), token) - seen.begin())],
                               token);
        std::sort(order.begin(), order.end());
        if (exact > 0 && exact < order.size())
            margin_ = std::min(margin_, 1.0 - order[exact].first / order[exact - 1].first);
        Tokens picked, rest;
        for (std::size_t i = 0; i < order.size(); ++i)
            (i < exact ? picked : rest).push_back(order[i].second);
        std::sort(rest.begin(), rest.end());
        Points own, asked;
        for (const Position token : rest)
            own.push_back(vector(token));
        for (Position q = sequence_.context_len; q < sequence_.prompt_len; ++q)
            asked.push_back(vector(q));
        const Chosen alike = LshTwin(own, asked, projection_, options_.lsh).select(count - exact);
        margin_ = std::min(margin_, alike.margin);
        for (const std::size_t i : alike.indices)
            picked.push_back(rest[i]);
        return picked;
    }

    const Shape& shape_;
    const SequenceInfo& sequence_;
    const std::vector<const LayerData*>& layers_;
    MatrixView projection_;
    const LaserOptions& options_;
    Tokens kept_, tail_;
    double margin_ = INFINITY;
};

}  // namespace kvtape::reference
