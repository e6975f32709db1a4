#include "policies/parts/window_votes.hpp"

#include <cmath>

namespace kvtape::policies {
namespace {

/// SnapKV with budgets that shrink from the first layer to the last, on average what was asked for.
struct PyramidKv : WindowVotes {
    std::int32_t beta = 20;
    Compat compat = Compat::none;

    void fields(auto& field) {
        WindowVotes::fields(field);
        field("beta",
              beta,
              Whole{1, 1 << 20},
              "the last layer keeps a share of 1/beta of the average");
        field("compat",
              compat,
              Choice{"", "kvpress"},
              "the window counts inside the budget, and layers are not rounded down");
    }
    Position budget(const Limit& limit,
                    Position held,
                    std::int32_t layer,
                    const Shape& shape) const {
        return compat == Compat::kvpress ? kvpress(limit, held, layer, shape.layers)
                                         : original(limit.tokens, held, layer, shape.layers);
    }

  private:
    /// Section 3 of the paper, in the whole numbers of the authors' code: past tokens of a layer,
    /// and the window on top.
    Position original(Position capacity,
                      Position held,
                      std::int32_t layer,
                      std::int32_t layers) const {
        const Position past = held - window, base = capacity - window;
        if (base <= 0 || held <= capacity)
            return std::min(capacity, held);
        if (layers == 1 || held < 2 * base)
            return capacity;
        Position least = base / beta, most = 2 * base - least;
        if (most >= past) {
            most = past;
            least = 2 * base - past;
        }
        const Position step = (most - least) / (layers - 1);
        return most - layer * step + window;
    }

    /// PyramidKVPress: the same line in real numbers, through a total that holds the window, unless
    /// the line leaves what a layer can keep.
    Position kvpress(const Limit& limit,
                     Position held,
                     std::int32_t layer,
                     std::int32_t layers) const {
        const double average =
            limit.ratio ? static_cast<double>(held) * kept_share(*limit.ratio) : limit.tokens;
        double least = average / beta, most = 2.0 * average - least;
        if (most >= static_cast<double>(held - window)) {
            most = static_cast<double>(held - window);
            least = 2.0 * average - most;
        }
        const bool fits = most <= held && least <= most && least >= window && layers > 1;
        const double kept = fits ? most - layer * ((most - least) / (layers - 1)) : average;
        return std::clamp(static_cast<Position>(std::nearbyint(kept)), 0, held);
    }

    /// 1 - (1 - ratio) as kvpress has it, in doubles.
    static double kept_share(const Ratio& ratio) {
        const Ratio removed{ratio.denominator - ratio.numerator, ratio.denominator};
        return 1.0 - removed.value();
    }
};

}  // namespace

PolicyInfo pyramidkv() {
    return {.name = "pyramidkv",
            .summary = "snapkv with budgets that shrink from the first layer to the last",
            .source = "Cai et al., arXiv:2406.02069",
            .variants = "kvpress: real-valued budgets with the window inside",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<PyramidKv>,
            .make = make_scored<PyramidKv>};
}

}  // namespace kvtape::policies
