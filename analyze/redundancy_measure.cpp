#include "analyze/measures.hpp"
#include "analyze/result_table.hpp"
#include "analyze/similarity.hpp"
#include "analyze/sparsity.hpp"
#include "core/parallel.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <utility>

namespace kvtape {
namespace {

enum Figure : std::size_t {
    present,  ///< 1
    jaccard_with_others,
    effective_kept,
    effective_keys,
    effective_values,
    sparsity,
    merging,
    figures
};

/// The similarities of one layer under one result, added up over sequences.
struct LayerLikeness {
    std::vector<Similarity> sums;  ///< of kept sets, keys, values; empty before the first sequence
    double sequences = 0.0;
};
constexpr std::size_t kinds = 3;

/// The pair of different heads that is most alike, one of them `head` where that is given; the
/// first of equals.
std::optional<std::pair<std::size_t, std::size_t>> most_alike(const Similarity& similarity,
                                                              std::optional<std::size_t> head) {
    std::optional<std::pair<std::size_t, std::size_t>> best;
    for (std::size_t a = 0; a < similarity.heads(); ++a)
        for (std::size_t b = a + 1; b < similarity.heads(); ++b) {
            if (head && a != *head && b != *head)
                continue;
            if (!best || similarity.at(a, b) > similarity.at(best->first, best->second))
                best.emplace(a, b);
        }
    return best;
}

class RedundancyMeasure final : public Measure {
  public:
    RedundancyMeasure(const std::vector<Result>& results, SceneSizes sizes)
        : results_(results),
          grids_(results.size(), FigureGrid(sizes.sequences, sizes.layers, sizes.heads, figures)),
          likeness_(results.size(), std::vector<LayerLikeness>(sizes.layers)) {}

    std::string_view file() const override { return "heads.csv"; }
    bool needs_trace() const override { return true; }

    void measure_head(const HeadScene& scene) override {
        std::map<std::size_t, std::optional<double>> sparsity_by_end;
        std::size_t longest = 0;
        for (const std::vector<HeldHead>& held : scene.layer.held)
            if (!held.empty())
                longest = std::max(longest, held[scene.head].state.kept.size());
        const MergePartners partners(scene.layer.keys(scene.head, longest),
                                     scene.layer.values(scene.head, longest));
        for (std::size_t r = 0; r < results_.size(); ++r) {
            if (scene.layer.held[r].empty())
                continue;
            const Kept& kept = scene.layer.held[r][scene.head].state.kept;
            const auto [known, added] = sparsity_by_end.try_emplace(kept.size());
            if (added && !scene.probe_mass.empty())
                known->second = mass95(std::span(scene.probe_mass).first(kept.size()));
            const auto note = [&](Figure figure, std::optional<double> value) {
                if (value)
                    grids_[r].at(scene.place(), figure) = *value;
            };
            note(present, 1.0);
            note(sparsity, known->second);
            note(merging, partners.mergeable(TokenSet(kept), kept.size()));
        }
    }

    void measure_layer(const LayerScene& scene, int threads) override {
        std::map<std::size_t, std::vector<Similarity>> recorded;  // keys and values, by end
        for (const std::vector<HeldHead>& held : scene.held)
            if (!held.empty() && !recorded.contains(held[0].state.kept.size())) {
                const std::size_t end = held[0].state.kept.size();
                std::vector<Similarity>& both = recorded[end];
                std::vector<MatrixView> keys, values;
                for (std::size_t head = 0; head < held.size(); ++head) {
                    keys.push_back(scene.keys(head, end));
                    values.push_back(scene.values(head, end));
                }
                both.push_back(linear_cka(keys, threads));
                both.push_back(linear_cka(values, threads));
            }
        parallel_for(results_.size(), threads, [&](std::size_t r) {
            const std::vector<HeldHead>& held = scene.held[r];
            if (!held.empty())
                note_layer(scene, r, recorded.at(held[0].state.kept.size()));
        });
    }

    std::string table(const std::vector<char>& usable, int threads) const override {
        const std::string header =
            std::string(result_columns) + "layer,kv_head,sequences" +
            interval_columns({"kept_jaccard",
                              "effective_heads_kept",
                              "effective_heads_keys",
                              "effective_heads_values",
                              "mass95",
                              "mergeable"}) +
            ",most_alike,most_alike_jaccard,most_alike_keys,most_alike_keys_cka,"
            "most_alike_values,most_alike_values_cka";
        return result_table(header, usable, threads, [&](std::size_t result, Csv& rows) {
            const FigureGrid& grid = grids_[result];
            for (const HeadGroup& group : head_groups(grid.layers(), grid.heads()))
                if (!grid.by_sequence(present, group).empty())
                    add_row(rows, result, group);
        });
    }

  private:
    /// Similarities of what one result keeps, and of keys and values (`recorded`).
    void note_layer(const LayerScene& scene,
                    std::size_t result,
                    const std::vector<Similarity>& recorded) {
        const std::vector<HeldHead>& held = scene.held[result];
        std::vector<TokenSet> sets;
        for (const HeldHead& head : held)
            sets.emplace_back(head.state.kept);
        Similarity kept(held.size());
        for (std::size_t a = 0; a < held.size(); ++a)
            for (std::size_t b = a + 1; b < held.size(); ++b)
                kept.set(a, b, jaccard(sets[a], sets[b]));
        const double effective[] = {
            effective_heads(kept), effective_heads(recorded[0]), effective_heads(recorded[1])};
        for (std::size_t head = 0; head < held.size(); ++head) {
            const HeadPlace place{scene.sequence, static_cast<std::size_t>(scene.layer), head};
            for (std::size_t kind = 0; kind < kinds; ++kind)
                grids_[result].at(place, effective_kept + kind) = effective[kind];
            double sum = 0.0;
            for (std::size_t other = 0; other < held.size(); ++other)
                sum += other == head ? 0.0 : kept.at(head, other);
            if (held.size() > 1)
                grids_[result].at(place, jaccard_with_others) =
                    sum / static_cast<double>(held.size() - 1);
        }
        LayerLikeness& likeness = likeness_[result][static_cast<std::size_t>(scene.layer)];
        if (likeness.sums.empty())
            likeness.sums.assign(kinds, empty_sum(held.size()));
        likeness.sums[0].add(kept);
        likeness.sums[1].add(recorded[0]);
        likeness.sums[2].add(recorded[1]);
        likeness.sequences += 1.0;
    }

    static Similarity empty_sum(std::size_t heads) {
        Similarity sum(heads);
        for (std::size_t i = 0; i < heads; ++i)
            sum.set(i, i, 0.0);
        return sum;
    }

    void add_row(Csv& rows, std::size_t result, HeadGroup group) const {
        const FigureGrid& grid = grids_[result];
        const auto values = [&](std::size_t figure) { return grid.by_sequence(figure, group); };
        begin_row(rows, results_[result]);
        add_group(rows, group).field(std::ssize(values(present)));
        add_intervals(rows,
                      bootstrap_,
                      std::array{values(jaccard_with_others),
                                 values(effective_kept),
                                 values(effective_keys),
                                 values(effective_values),
                                 values(sparsity),
                                 values(merging)});
        for (std::size_t kind = 0; kind < kinds; ++kind)
            add_most_alike(rows, result, kind, group);
        rows.end_row();
    }

    void add_most_alike(Csv& rows, std::size_t result, std::size_t kind, HeadGroup group) const {
        const LayerLikeness* likeness = group.layer ? &likeness_[result][*group.layer] : nullptr;
        const auto pair = likeness != nullptr && !likeness->sums.empty()
                              ? most_alike(likeness->sums[kind], group.head)
                              : std::nullopt;
        if (!pair) {
            rows.field("").field("");
            return;
        }
        const auto [a, b] = *pair;
        rows.field(!group.head ? std::to_string(a) + "+" + std::to_string(b)
                               : std::to_string(a == *group.head ? b : a));
        rows.field(likeness->sums[kind].at(a, b) / likeness->sequences);
    }

    const std::vector<Result>& results_;
    std::vector<FigureGrid> grids_;
    std::vector<std::vector<LayerLikeness>> likeness_;  ///< [result][layer]
    Bootstrap bootstrap_;
};

}  // namespace

std::unique_ptr<Measure> redundancy_measure(const std::vector<Result>& results, SceneSizes sizes) {
    return std::make_unique<RedundancyMeasure>(results, sizes);
}

}  // namespace kvtape
