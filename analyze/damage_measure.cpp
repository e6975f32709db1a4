#include "analyze/leave_one_out.hpp"
#include "analyze/measures.hpp"
#include "analyze/result_table.hpp"
#include "core/reduce.hpp"
#include "sim/head_damage.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace kvtape {
namespace {

/// Kinds of probes.
constexpr std::array<std::string_view, 3> kinds = {"question", "answer", "all"};

enum Figure : std::size_t {
    mass,
    error_median,
    error_p95,
    projected_median,
    projected_p95,
    largest_effect,
    kept_effect,
    per_kind
};

/// Rows of the probes, by kind.
std::array<RowRange, kinds.size()> rows_of_kinds(const SequenceInfo& sequence) {
    const RowRange all{0, probe_rows(sequence).count};
    const RowRange question{
        0, rows_between(sequence, sequence.context_len, sequence.prompt_len).count};
    return {question, RowRange{question.count, all.count - question.count}, all};
}

/// The columns of W_o behind each query head of a KV head's group; none where it was not recorded.
std::vector<OutputNorm> output_norms(const LayerScene& scene, std::size_t kv_head) {
    std::vector<OutputNorm> norms;
    if (scene.projection->empty())
        return norms;
    const Shape& shape = scene.trace->shape;
    const Eigen::Index width = Eigen::Index{shape.query_heads} * shape.head_dim;
    for (std::int32_t i = 0; i < shape.group(); ++i) {
        const Eigen::Index head = static_cast<Eigen::Index>(kv_head) * shape.group() + i;
        norms.emplace_back(MatrixView(scene.projection->data() + head * shape.head_dim,
                                      shape.hidden_size,
                                      shape.head_dim,
                                      Eigen::OuterStride<>(width)));
    }
    return norms;
}

/// leave_one_out of every kind that has probes.
using Effects = std::array<std::vector<double>, kinds.size()>;

Effects effects_of(const HeadScene& scene, std::size_t tokens) {
    const auto rows = rows_of_kinds(*scene.layer.info);
    const MatrixView values =
        scene.layer.values(scene.head, static_cast<std::size_t>(scene.layer.info->length()));
    Effects effects;
    for (std::size_t kind = 0; kind < 2; ++kind)
        if (rows[kind].count > 0)
            effects[kind] = leave_one_out(
                scene.facts->rows({scene.facts->probes.first + rows[kind].first, rows[kind].count}),
                values,
                static_cast<Position>(tokens));
    if (effects[0].empty() || effects[1].empty()) {
        effects[2] = effects[0].empty() ? effects[1] : effects[0];
        return effects;
    }
    const double question = rows[0].count, answer = rows[1].count;
    for (std::size_t t = 0; t < tokens; ++t)
        effects[2].push_back((question * effects[0][t] + answer * effects[1][t]) /
                             (question + answer));
    return effects;
}

class DamageMeasure final : public Measure {
  public:
    DamageMeasure(const std::vector<Result>& results, SceneSizes sizes)
        : results_(results),
          grids_(results.size(),
                 FigureGrid(sizes.sequences, sizes.layers, sizes.heads, per_kind * kinds.size())) {
        for (std::size_t r = 0; r < results.size(); ++r) {
            if (r == 0 || !same_chain(results[r - 1], results[r]))
                chains_.emplace_back();
            chains_.back().push_back(r);
        }
    }

    std::string_view file() const override { return "damage.csv"; }
    bool needs_trace() const override { return true; }

    void measure_head(const HeadScene& scene) override {
        const auto rows = rows_of_kinds(*scene.layer.info);
        std::vector<std::size_t> present;
        std::vector<RowRange> parts;
        for (std::size_t kind = 0; kind < kinds.size(); ++kind)
            if (rows[kind].count > 0) {
                present.push_back(kind);
                parts.push_back(rows[kind]);
            }
        const std::vector<OutputNorm> norms = output_norms(scene.layer, scene.head);
        const DamagedHead head{.trace = *scene.layer.trace,
                               .sequence = *scene.layer.info,
                               .layer = scene.layer.layer,
                               .data = *scene.layer.data,
                               .kv_head = static_cast<std::int32_t>(scene.head),
                               .facts = *scene.facts};
        for (const std::vector<std::size_t>& chain : chains_)
            measure_chain(scene, head, chain, present, parts, norms);
        note_effects(scene, present);
    }

    std::string table(const std::vector<char>& usable, int threads) const override {
        const std::string header = std::string(result_columns) + "layer,kv_head,probes,sequences" +
                                   interval_columns({"mass_kept",
                                                     "output_error_median",
                                                     "output_error_p95",
                                                     "projected_error_median",
                                                     "projected_error_p95",
                                                     "leave_one_out_max",
                                                     "leave_one_out_kept"});
        return result_table(header, usable, threads, [&](std::size_t result, Csv& rows) {
            const FigureGrid& grid = grids_[result];
            for (const HeadGroup& group : head_groups(grid.layers(), grid.heads()))
                for (std::size_t kind = 0; kind < kinds.size(); ++kind)
                    if (!grid.by_sequence(kind * per_kind + mass, group).empty())
                        add_row(rows, result, group, kind);
        });
    }

  private:
    static bool same_chain(const Result& a, const Result& b) {
        return a.policy == b.policy && a.query_source == b.query_source && a.schedule == b.schedule;
    }

    double& figure(std::size_t result, HeadPlace place, std::size_t kind, Figure which) {
        return grids_[result].at(place, kind * per_kind + which);
    }

    /// All results of a chain that hold the head, at once.
    void measure_chain(const HeadScene& scene,
                       const DamagedHead& head,
                       const std::vector<std::size_t>& chain,
                       const std::vector<std::size_t>& present,
                       const std::vector<RowRange>& parts,
                       const std::vector<OutputNorm>& norms) {
        std::vector<const HeldState*> states;
        std::vector<std::size_t> results;
        for (const std::size_t r : chain)
            if (!scene.layer.held[r].empty()) {
                states.push_back(&scene.layer.held[r][scene.head].state);
                results.push_back(r);
            }
        if (states.empty())
            return;
        const std::vector<Damage> measured = measure_states(head, states, parts, norms);
        for (std::size_t part = 0; part < parts.size(); ++part)
            for (std::size_t i = 0; i < results.size(); ++i) {
                const Damage& damage = measured[part];
                const auto note = [&](Figure which, double value) {
                    figure(results[i], scene.place(), present[part], which) = value;
                };
                note(mass, damage.mass_kept[i]);
                note(error_median, damage.output_error_median[i]);
                note(error_p95, damage.output_error_p95[i]);
                if (norms.empty())
                    continue;
                note(projected_median, damage.projected_error_median[i]);
                note(projected_p95, damage.projected_error_p95[i]);
            }
    }

    void note_effects(const HeadScene& scene, const std::vector<std::size_t>& present) {
        std::map<std::size_t, Effects> by_end;
        for (std::size_t r = 0; r < results_.size(); ++r) {
            if (scene.layer.held[r].empty())
                continue;
            const Kept& kept = scene.layer.held[r][scene.head].state.kept;
            const auto [known, added] = by_end.try_emplace(kept.size());
            if (added)
                known->second = effects_of(scene, kept.size());
            for (const std::size_t kind : present)
                note_effect(r, scene.place(), kind, kept, known->second[kind]);
        }
    }

    void note_effect(std::size_t result,
                     HeadPlace place,
                     std::size_t kind,
                     const Kept& kept,
                     const std::vector<double>& effects) {
        double largest = 0.0, held = 0.0, whole = 0.0;
        for (std::size_t t = 0; t < kept.size(); ++t) {
            whole += effects[t];
            held += kept[t] != 0 ? effects[t] : 0.0;
            largest = kept[t] != 0 ? largest : std::max(largest, effects[t]);
        }
        figure(result, place, kind, largest_effect) = largest;
        if (whole > 0.0)
            figure(result, place, kind, kept_effect) = held / whole;
    }

    void add_row(Csv& rows, std::size_t result, HeadGroup group, std::size_t kind) const {
        const auto values = [&](Figure which) {
            return grids_[result].by_sequence(kind * per_kind + which, group);
        };
        begin_row(rows, results_[result]);
        add_group(rows, group).field(kinds[kind]).field(std::ssize(values(mass)));
        add_intervals(rows,
                      bootstrap_,
                      std::array{values(mass),
                                 values(error_median),
                                 values(error_p95),
                                 values(projected_median),
                                 values(projected_p95),
                                 values(largest_effect),
                                 values(kept_effect)})
            .end_row();
    }

    const std::vector<Result>& results_;
    std::vector<std::vector<std::size_t>> chains_;  ///< results that differ by their budget alone
    std::vector<FigureGrid> grids_;
    Bootstrap bootstrap_;
};

}  // namespace

std::unique_ptr<Measure> damage_measure(const std::vector<Result>& results, SceneSizes sizes) {
    return std::make_unique<DamageMeasure>(results, sizes);
}

}  // namespace kvtape
