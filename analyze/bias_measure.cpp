#include "analyze/measures.hpp"
#include "analyze/position_bias.hpp"
#include "analyze/result_table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace kvtape {
namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

enum Figure : std::size_t {
    present,   ///< 1
    scored,    ///< 1 where scores are stored
    constant,  ///< 1 where these are all equal, else 0
    correlation,
    ties,
    slope,
    distance,
    profile,  ///< the first of 20
    figures = profile + profile_bins
};

/// What scores alone say; the same for all budgets of most policies.
struct ScoreFigures {
    double constant = none, correlation = none, ties = none;
};

ScoreFigures figures_of(std::span<const float> scores) {
    if (scores.empty())
        return {};
    const std::optional<double> rho = position_correlation(scores);
    const auto finite =
        std::count_if(scores.begin(), scores.end(), [](float x) { return std::isfinite(x); });
    return {.constant = !rho && finite > 1 ? 1.0 : 0.0,
            .correlation = rho.value_or(none),
            .ties = tie_rate(scores).value_or(none)};
}

/// Bit by bit: not-a-numbers equal themselves.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// A flag for each token that no rule keeps.
std::vector<char> counting(const HeldHead& held) {
    std::vector<char> counts(held.state.kept.size(), 1);
    for (std::size_t t = 0; t < held.scores.size(); ++t)
        counts[t] = held.scores[t] == std::numeric_limits<float>::infinity() ? 0 : 1;
    return counts;
}

class BiasMeasure final : public Measure {
  public:
    BiasMeasure(const std::vector<Result>& results, SceneSizes sizes)
        : results_(results),
          grids_(results.size(), FigureGrid(sizes.sequences, sizes.layers, sizes.heads, figures)) {
        for (const Result& result : results)
            oracles_.push_back(oracle_of(result));
    }

    std::string_view file() const override { return "bias.csv"; }

    void measure_head(const HeadScene& scene) override {
        const std::vector<std::vector<HeldHead>>& held = scene.layer.held;
        const std::vector<float>* last = nullptr;
        ScoreFigures scores;
        for (std::size_t r = 0; r < held.size(); ++r) {
            if (held[r].empty())
                continue;
            const HeldHead& head = held[r][scene.head];
            if (last == nullptr || !same_bits(*last, head.scores))
                scores = figures_of(head.scores);
            last = &head.scores;
            const auto figure = [&](std::size_t which) -> double& {
                return grids_[r].at(scene.place(), which);
            };
            figure(present) = 1.0;
            if (!head.scores.empty())
                figure(scored) = 1.0;
            figure(constant) = scores.constant;
            figure(correlation) = scores.correlation;
            figure(ties) = scores.ties;
            const std::vector<char> counts = counting(head);
            const KeepProfile kept = keep_profile(head.state.kept, counts);
            figure(slope) = keep_slope(kept).value_or(none);
            for (std::size_t bin = 0; bin < profile_bins; ++bin)
                figure(profile + bin) = kept[bin];
            if (const auto oracle = oracles_[r]; oracle && !held[*oracle].empty()) {
                const Kept& best = held[*oracle][scene.head].state.kept;
                if (best.size() == head.state.kept.size())
                    figure(distance) =
                        position_distance(head.state.kept, best, counts).value_or(none);
            }
        }
    }

    std::string table(const std::vector<char>& usable, int threads) const override {
        std::string header(result_columns);
        header += "layer,kv_head,sequences,constant";
        header +=
            interval_columns({"position_correlation", "keep_slope", "bias_vs_oracle", "tie_rate"});
        header += ",error";
        for (std::size_t bin = 0; bin < profile_bins; ++bin)
            header += interval_columns({"keep_profile_" + std::to_string(bin)});
        return result_table(header, usable, threads, [&](std::size_t result, Csv& rows) {
            const FigureGrid& grid = grids_[result];
            for (const HeadGroup& group : head_groups(grid.layers(), grid.heads()))
                if (!grid.by_sequence(present, group).empty())
                    add_row(rows, result, group);
        });
    }

  private:
    /// The first oracle at the same budget and schedule.
    std::optional<std::size_t> oracle_of(const Result& result) const {
        for (std::size_t i = 0; i < results_.size(); ++i)
            if (results_[i].policy == "oracle" && results_[i].schedule == result.schedule &&
                !(results_[i].budget < result.budget) && !(result.budget < results_[i].budget))
                return i;
        return std::nullopt;
    }

    void add_row(Csv& rows, std::size_t result, HeadGroup group) const {
        const FigureGrid& grid = grids_[result];
        const auto values = [&](std::size_t figure) { return grid.by_sequence(figure, group); };
        const double constants = grid.sum(constant, group);
        begin_row(rows, results_[result]);
        add_group(rows, group)
            .field(std::ssize(values(present)))
            .field(static_cast<std::int64_t>(constants));
        add_intervals(
            rows,
            bootstrap_,
            std::array{values(correlation), values(slope), values(distance), values(ties)})
            .field(error_of(result, group, constants > 0.0));
        std::vector<std::vector<double>> bins;
        for (std::size_t bin = 0; bin < profile_bins; ++bin)
            bins.push_back(values(profile + bin));
        add_intervals(rows, bootstrap_, bins).end_row();
    }

    std::string error_of(std::size_t result, HeadGroup group, bool constants) const {
        if (grids_[result].by_sequence(scored, group).empty())
            return "no scores stored (replay --scores): tokens that a rule keeps are counted in";
        if (constants)
            return "constant scores";
        if (grids_[result].by_sequence(slope, group).empty())
            return "nothing kept but tokens of a rule";
        const bool free = !grids_[result].by_sequence(correlation, group).empty();
        return free ? "" : "no scores but those of a rule";
    }

    const std::vector<Result>& results_;
    std::vector<std::optional<std::size_t>> oracles_;
    std::vector<FigureGrid> grids_;
    Bootstrap bootstrap_;
};

}  // namespace

std::unique_ptr<Measure> bias_measure(const std::vector<Result>& results, SceneSizes sizes) {
    return std::make_unique<BiasMeasure>(results, sizes);
}

}  // namespace kvtape
