#include "analyze/measures.hpp"
#include "analyze/paging.hpp"
#include "analyze/result_table.hpp"
#include "sim/metrics/needle.hpp"

#include <algorithm>
#include <array>

namespace kvtape {
namespace {

constexpr std::array<std::size_t, 2> blocks = {16, 64};

enum Figure : std::size_t {
    kept_share,
    held_share,
    paged_share,
    recall,
    paged_recall,
    recall_lost,
    kept_mass,
    paged_mass,
    weight,
    per_block
};

double share(const Kept& kept) {
    const auto count = std::count(kept.begin(), kept.end(), static_cast<char>(1));
    return static_cast<double>(count) / static_cast<double>(kept.size());
}

class PagingMeasure final : public Measure {
  public:
    PagingMeasure(const std::vector<Result>& results, SceneSizes sizes)
        : results_(results),
          grids_(
              results.size(),
              FigureGrid(sizes.sequences, sizes.layers, sizes.heads, per_block * blocks.size())) {}

    std::string_view file() const override { return "paged.csv"; }
    bool needs_trace() const override { return true; }

    void measure_head(const HeadScene& scene) override {
        for (std::size_t r = 0; r < results_.size(); ++r) {
            if (scene.layer.held[r].empty())
                continue;
            const Kept& kept = scene.layer.held[r][scene.head].state.kept;
            for (std::size_t block = 0; block < blocks.size() && !kept.empty(); ++block)
                note(scene, r, block, kept);
        }
    }

    std::string table(const std::vector<char>& usable, int threads) const override {
        const std::string header = std::string(result_columns) + "layer,kv_head,block,sequences" +
                                   interval_columns({"kept_ratio",
                                                     "held_ratio",
                                                     "paged_ratio",
                                                     "needle_recall",
                                                     "paged_recall",
                                                     "needle_recall_weighted",
                                                     "paged_recall_weighted",
                                                     "mass_kept",
                                                     "paged_mass",
                                                     "recall_lost"});
        return result_table(header, usable, threads, [&](std::size_t result, Csv& rows) {
            const FigureGrid& grid = grids_[result];
            for (const HeadGroup& group : head_groups(grid.layers(), grid.heads()))
                for (std::size_t block = 0; block < blocks.size(); ++block)
                    if (!grid.by_sequence(block * per_block + kept_share, group).empty())
                        add_row(rows, result, group, block);
        });
    }

  private:
    void note(const HeadScene& scene, std::size_t result, std::size_t block, const Kept& kept) {
        const Kept pages = chosen_pages(kept, blocks[block]);
        const auto figure = [&](Figure which) -> double& {
            return grids_[result].at(scene.place(), block * per_block + which);
        };
        figure(kept_share) = share(kept);
        figure(held_share) = share(held_pages(kept, blocks[block]));
        figure(paged_share) = share(pages);
        if (!scene.facts->needle.empty()) {
            figure(recall) = needle_share(scene, kept);
            figure(paged_recall) = needle_share(scene, pages);
            figure(recall_lost) = figure(recall) - figure(paged_recall);
            figure(weight) = scene.facts->needle_weight;
        }
        if (!scene.probe_mass.empty()) {
            figure(kept_mass) = mass_of(scene, kept);
            figure(paged_mass) = mass_of(scene, pages);
        }
    }

    static double needle_share(const HeadScene& scene, const Kept& kept) {
        return static_cast<double>(needle_kept(scene.facts->needle, kept)) /
               static_cast<double>(scene.facts->needle.size());
    }

    /// Tokens behind those that could be evicted are held too.
    static double mass_of(const HeadScene& scene, const Kept& kept) {
        double sum = 0.0;
        for (std::size_t t = 0; t < scene.probe_mass.size(); ++t)
            sum += t >= kept.size() || kept[t] != 0 ? scene.probe_mass[t] : 0.0;
        return sum;
    }

    void add_row(Csv& rows, std::size_t result, HeadGroup group, std::size_t block) const {
        const FigureGrid& grid = grids_[result];
        const std::size_t first = block * per_block;
        const auto values = [&](Figure which) { return grid.by_sequence(first + which, group); };
        const auto weighted = [&](Figure which) {
            return group.head ? std::vector<double>()
                              : grid.by_sequence(first + which, first + weight, group);
        };
        begin_row(rows, results_[result]);
        add_group(rows, group)
            .field(static_cast<std::int64_t>(blocks[block]))
            .field(std::ssize(values(kept_share)));
        add_intervals(rows,
                      bootstrap_,
                      std::array{values(kept_share),
                                 values(held_share),
                                 values(paged_share),
                                 values(recall),
                                 values(paged_recall),
                                 weighted(recall),
                                 weighted(paged_recall),
                                 values(kept_mass),
                                 values(paged_mass),
                                 group.head ? values(recall_lost) : weighted(recall_lost)})
            .end_row();
    }

    const std::vector<Result>& results_;
    std::vector<FigureGrid> grids_;
    Bootstrap bootstrap_;
};

}  // namespace

std::unique_ptr<Measure> paging_measure(const std::vector<Result>& results, SceneSizes sizes) {
    return std::make_unique<PagingMeasure>(results, sizes);
}

}  // namespace kvtape
