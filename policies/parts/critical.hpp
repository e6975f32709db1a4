#pragma once

#include "policies/parts/wrapper.hpp"

#include <memory>
#include <string>
#include <vector>

namespace kvtape {

/// The two stages of CriticalKV (Feng et al., arXiv:2502.03805): the best share of a budget is
/// chosen by the scores of a base, the rest by these scores times how far the value reaches through
/// the output projection.
struct CriticalStages {
    double stage1 = 0.5;
    double epsilon = 1e-4;

    void fields(auto& field) {
        field("stage1", stage1, Real{0.0, 1.0}, "share of the budget chosen by the base alone");
        field("epsilon", epsilon, Real{0.0, 1.0}, "added to a score before it is multiplied");
    }
    /// The second stage reads values and their projection.
    static Needs needs(Needs base) {
        base.values = true;
        base.output_projection = true;
        return base;
    }
};

/// The base of a critical wrapper, snapkv where none is named. expected_attention comes without its
/// own value norm. Bases whose scores may be negative are refused: a product would turn their order
/// around.
ScoringBase make_critical_base(Arguments wrapper);

/// Scores of both stages, for every head.
class CriticalScores {
  public:
    CriticalScores(const CriticalStages& stages,
                   std::unique_ptr<ScoredSession> base,
                   const SessionContext& context);

    void observe(const LayerView& layer);
    const ScoredSession& base() const { return *base_; }
    /// The `tokens` entries to keep: those by rule, the best by the base, the best by product.
    std::vector<Position> keep(HeadId id, Position tokens) const;
    /// The scores behind it: +inf for what the rule and the first stage keep.
    std::vector<float> scores(HeadId id, Position tokens) const;

  private:
    struct Head {
        std::vector<Position> by_base;     ///< entries, best first
        std::vector<float> products;       ///< of the entries that have a score
        std::vector<Position> by_product;  ///< entries, best first
    };
    const Head& at(HeadId id) const;
    /// Marks what the rule and the first stage keep; returns how many these are.
    Position protect(HeadId id, Position tokens, std::vector<char>& kept) const;

    CriticalStages stages_;
    std::unique_ptr<ScoredSession> base_;
    SessionContext context_;
    std::vector<Head> heads_;
};

}  // namespace kvtape
