#pragma once

#include "core/types.hpp"
#include "tests/support/reference.hpp"
#include "tests/support/twins/lsh.hpp"
#include "trace/trace.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

/// LASER-KV written down from its description, in double precision, one token after the other.
namespace kvtape::reference {

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
