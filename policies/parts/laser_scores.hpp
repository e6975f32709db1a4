#pragma once

#include "core/budget.hpp"
#include "policies/parts/lsh.hpp"
#include "policies/policy.hpp"

#include <vector>

namespace kvtape {

/// What LASER-KV ranks candidates by.
enum class LaserSelector {
    hybrid,  ///< some by the question's attention, then others by hashes
    exact,   ///< the question's attention
    lsh,     ///< hashes of keys beside those of the question
};

struct LaserSelection {
    LaserSelector selector = LaserSelector::hybrid;
    Ratio alpha{3, 4};  ///< the share of attention in hybrid
    LshSettings lsh;
};

/// What the question's rows of attention are softmaxes over.
struct LaserRows {
    Position first = 0;    ///< held entries from this one on
    bool question = true;  ///< and the question's own tokens, causally
};

/// How the question judges the entries held at the end of a block, all layers and heads together.
class LaserScores {
  public:
    /// Indices into what is held, ascending.
    using Entries = std::vector<Position>;

    /// `selection` is kept by reference. Projections come from stream 0 of the context's seed.
    LaserScores(const LaserSelection& selection, const SessionContext& context);

    /// A block with that many entries held begins.
    void reset(std::size_t held) { attention_.assign(held, 0.0); }
    /// Adds a layer: its attention, and in place of the layer before its keys, to be hashed.
    void observe(const LayerView& layer, const LaserRows& rows);
    /// The best `count` of `candidates`, at most all of them.
    Entries pick(const Entries& candidates, Position count) const;

  private:
    void add_attention(const LayerView& layer, const LaserRows& rows);
    void take_vectors(const LayerView& layer);
    Entries most_attended(const Entries& candidates, Position count) const;
    Entries most_alike(const Entries& candidates, Position count) const;

    const LaserSelection& selection_;
    Shape shape_;
    int threads_;
    Matrix projection_;              ///< [head_dim, tables * bits]
    std::vector<double> attention_;  ///< of every entry, from the question
    Matrix vectors_, question_;      ///< [held, head_dim] and [question, head_dim]
};

}  // namespace kvtape
