#include "analyze/findings.hpp"

#include "analyze/measures.hpp"
#include "core/parallel.hpp"
#include "core/reduce.hpp"

#include <algorithm>
#include <exception>
#include <map>
#include <set>

namespace kvtape {
namespace {

/// The names of all sequences: the trace's in its order, or those of the decision files.
std::vector<std::string> sequence_names(const std::vector<Result>& results, const Trace* trace) {
    if (trace != nullptr) {
        std::vector<std::string> names;
        for (std::int32_t i = 0; i < trace->sequences(); ++i)
            names.push_back(trace->sequence(i).name);
        return names;
    }
    std::set<std::string> names;
    for (const Result& result : results)
        for (std::int32_t i = 0; i < result.decisions->sequences(); ++i)
            names.insert(result.decisions->sequence(i).name);
    return {names.begin(), names.end()};
}

SceneSizes sizes_of(const std::vector<Result>& results, const Trace* trace) {
    SceneSizes sizes{.sequences = sequence_names(results, trace).size()};
    std::int32_t layers = 0, heads = 0;
    if (trace != nullptr) {
        layers = trace->info().shape.layers;
        heads = trace->info().shape.kv_heads;
    } else {
        for (const Result& result : results)
            for (std::int32_t i = 0; i < result.decisions->sequences(); ++i) {
                const std::vector<std::int32_t>& held = result.decisions->layers(i);
                layers = std::max(layers, held.empty() ? 0 : held.back() + 1);
                heads = std::max(heads, result.decisions->kv_heads(i));
            }
    }
    sizes.layers = static_cast<std::size_t>(layers);
    sizes.heads = static_cast<std::size_t>(heads);
    return sizes;
}

/// What the heads of one layer hold under one result; none where it lacks the layer.
std::vector<HeldHead> held_heads(const Result& result,
                                 const std::string& sequence,
                                 std::int32_t layer,
                                 const Trace* trace) {
    const DecisionFile& file = *result.decisions;
    const auto place = place_of(file, sequence);
    if (!place ||
        !std::binary_search(file.layers(*place).begin(), file.layers(*place).end(), layer))
        return {};
    LayerFate fate = file.load(*place, layer);
    const std::vector<Block>& blocks = file.sequence(*place).blocks;
    const std::int32_t moment = deciding_block(result.schedule, blocks);
    const auto tokens = static_cast<std::size_t>(file.tokens(*place));
    const std::size_t end =
        blocks.empty() ? 0 : static_cast<std::size_t>(blocks[static_cast<std::size_t>(moment)].end);
    if (trace == nullptr)
        fate.merged = {};  // Merged rows have no known width, and nothing that reads them.
    const Eigen::Index dim = trace == nullptr ? 0 : trace->info().shape.head_dim;
    if (std::ssize(fate.merged.keys) != std::ssize(fate.merged.entries) * dim)
        throw format_error("reading " + result.file + ": the merged keys of layer " +
                           std::to_string(layer) +
                           " are not as wide as the heads of the trace; remove the file and "
                           "replay again");
    std::vector<HeldHead> heads;
    for (std::int32_t head = 0; head < file.kv_heads(*place); ++head) {
        HeldHead& held = heads.emplace_back();
        held.state = held_state(fate, head, tokens, moment, end, dim);
        if (!fate.scores.empty()) {
            const auto from = fate.scores.begin() +
                              static_cast<std::ptrdiff_t>(static_cast<std::size_t>(head) * tokens);
            held.scores.assign(from, from + static_cast<std::ptrdiff_t>(end));
        }
    }
    return heads;
}

/// Probability that each token got in the full run, mean over probes and query heads.
std::vector<double> mean_probe_attention(const HeadFacts& facts, Position tokens) {
    if (facts.probes.count == 0)
        return {};
    std::vector<double> mass(static_cast<std::size_t>(tokens), 0.0);
    double rows = 0.0;
    for (const MatrixView& weights : facts.rows(facts.probes))
        for (Eigen::Index row = 0; row < weights.rows(); ++row) {
            const std::span<const float> of_probe(weights.data() + row * weights.outerStride(),
                                                  mass.size());
            const double whole = ordered_sum(of_probe);
            for (std::size_t t = 0; t < mass.size(); ++t)
                mass[t] += static_cast<double>(of_probe[t]) / whole;
            rows += 1.0;
        }
    for (double& of_token : mass)
        of_token /= rows;
    return mass;
}

class Pass {
  public:
    Pass(const std::vector<Result>& results, const Trace* trace, int threads)
        : results_(results),
          trace_(trace),
          threads_(threads),
          names_(sequence_names(results, trace)),
          sizes_(sizes_of(results, trace)),
          usable_(results.size(), 1),
          measures_(all_measures(results, sizes_)) {
        expect_fitting_files();
        if (trace_ == nullptr)
            drop_measures_of_trace();
    }

    void run(const StepReport& report) {
        const auto steps = static_cast<std::int64_t>(names_.size() * sizes_.layers);
        std::int64_t done = 0;
        for (std::size_t sequence = 0; sequence < names_.size(); ++sequence)
            for (std::size_t layer = 0; layer < sizes_.layers; ++layer) {
                go_over(sequence, static_cast<std::int32_t>(layer));
                report(++done, steps);
            }
    }

    Findings findings() const {
        Findings found{.tables = {}, .problems = problems_};
        for (const std::unique_ptr<Measure>& measure : measures_)
            found.tables.push_back(
                {std::string(measure->file()), measure->table(usable_, threads_)});
        return found;
    }

  private:
    void drop_measures_of_trace() {
        std::erase_if(measures_, [](const auto& measure) { return measure->needs_trace(); });
    }

    void leave_out(std::size_t result, const Error& error) {
        usable_[result] = 0;
        problems_.push_back({error.kind(), error.what()});
    }

    /// Without a trace, the first file that holds a sequence says how long it is.
    void expect_fitting_files() {
        std::map<std::string, Position> lengths;
        for (std::size_t r = 0; r < results_.size(); ++r)
            try {
                const DecisionFile& file = *results_[r].decisions;
                if (trace_ != nullptr)
                    expect_fit(results_[r].file, file, *trace_);
                for (std::int32_t i = 0; i < file.sequences(); ++i) {
                    const Position tokens =
                        lengths.emplace(file.sequence(i).name, file.tokens(i)).first->second;
                    if (tokens != file.tokens(i) ||
                        static_cast<std::size_t>(file.kv_heads(i)) != sizes_.heads)
                        throw format_error("analyzing " + results_[r].file + ": sequence " +
                                           file.sequence(i).name +
                                           " has another shape than in other files of the "
                                           "directory; remove the file and replay again");
                }
            } catch (const Error& error) {
                leave_out(r, error);
            }
    }

    /// Reads what is held; a file that turns out to be damaged is left out from here on.
    void read_decisions(LayerScene& scene) {
        std::vector<std::exception_ptr> failures(results_.size());
        scene.held.assign(results_.size(), {});
        parallel_for(results_.size(), threads_, [&](std::size_t r) {
            if (usable_[r] == 0)
                return;
            try {
                scene.held[r] =
                    held_heads(results_[r], names_[scene.sequence], scene.layer, trace_);
            } catch (const Error&) {
                failures[r] = std::current_exception();
            }
        });
        for (std::size_t r = 0; r < failures.size(); ++r)
            try {
                if (failures[r])
                    std::rethrow_exception(failures[r]);
            } catch (const Error& error) {
                leave_out(r, error);
            }
    }

    /// Reads what was recorded; a damaged trace is not asked again.
    void read_trace(LayerScene& scene) {
        if (trace_ == nullptr)
            return;
        try {
            const auto sequence = static_cast<std::int32_t>(scene.sequence);
            trace_->load(
                sequence, scene.layer, {.keys = true, .values = true, .queries = true}, data_);
            projection_ = trace_->output_projection(scene.layer);
            scene.trace = &trace_->info();
            scene.info = &trace_->sequence(sequence);
            scene.data = &data_;
            scene.projection = &projection_;
        } catch (const Error& error) {
            problems_.push_back({error.kind(), error.what()});
            trace_ = nullptr;
            drop_measures_of_trace();
        }
    }

    void go_over(std::size_t sequence, std::int32_t layer) {
        LayerScene scene;
        scene.sequence = sequence;
        scene.layer = layer;
        read_decisions(scene);
        if (std::all_of(scene.held.begin(), scene.held.end(), [](const auto& heads) {
                return heads.empty();
            }))
            return;
        read_trace(scene);
        // A head's attention over its probes is large: it goes before the thread takes another.
        parallel_for(sizes_.heads, threads_, [&](std::size_t head) {
            HeadScene seen{.layer = scene, .head = head, .facts = nullptr, .probe_mass = {}};
            HeadFacts facts;
            if (scene.trace != nullptr) {
                facts = facts_of(
                    *scene.trace, *scene.info, layer, *scene.data, static_cast<std::int32_t>(head));
                seen.facts = &facts;
                seen.probe_mass = mean_probe_attention(facts, scene.info->length());
            }
            for (const std::unique_ptr<Measure>& measure : measures_)
                measure->measure_head(seen);
        });
        for (const std::unique_ptr<Measure>& measure : measures_)
            measure->measure_layer(scene, threads_);
    }

    const std::vector<Result>& results_;
    const Trace* trace_;
    int threads_;
    std::vector<std::string> names_;
    SceneSizes sizes_;
    std::vector<char> usable_;
    std::vector<Problem> problems_;
    std::vector<std::unique_ptr<Measure>> measures_;
    LayerData data_;
    std::vector<float> projection_;
};

}  // namespace

Findings findings_of(const std::vector<Result>& results,
                     const Trace* trace,
                     int threads,
                     const StepReport& report) {
    Pass pass(results, trace, threads);
    pass.run(report);
    return pass.findings();
}

}  // namespace kvtape
