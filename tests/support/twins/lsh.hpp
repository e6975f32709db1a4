#pragma once

#include "core/types.hpp"
#include "policies/parts/lsh.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

/// The hashes of LASER-KV written down from their description, in double precision, bit by bit.
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

}  // namespace kvtape::reference
