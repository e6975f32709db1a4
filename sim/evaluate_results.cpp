#include "sim/evaluate_results.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <string>

namespace kvtape {
namespace {

/// Results of one chain that hold a given layer of a given sequence.
struct ActiveChain {
    std::vector<std::size_t> results;  ///< indices into all results
    std::vector<std::int32_t> places;  ///< of the sequence in each file
};

bool same_chain(const Result& a, const Result& b) {
    return a.policy == b.policy && a.query_source == b.query_source && a.schedule == b.schedule;
}

std::vector<ActiveChain> active_chains(const std::vector<Result>& results,
                                       const std::string& sequence,
                                       std::int32_t layer) {
    std::vector<ActiveChain> chains;
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (i == 0 || !same_chain(results[i - 1], results[i]))
            chains.emplace_back();
        const DecisionFile& file = *results[i].decisions;
        const auto place = place_of(file, sequence);
        if (!place)
            continue;
        const std::vector<std::int32_t>& layers = file.layers(*place);
        if (!std::binary_search(layers.begin(), layers.end(), layer))
            continue;
        chains.back().results.push_back(i);
        chains.back().places.push_back(*place);
    }
    std::erase_if(chains, [](const ActiveChain& chain) { return chain.results.empty(); });
    return chains;
}

/// One layer of a decision file, which fits the trace.
LayerFate fate_of(const Result& result,
                  std::int32_t sequence,
                  std::int32_t layer,
                  const Trace& trace) {
    LayerFate fate = result.decisions->load(sequence, layer);
    const auto dim = static_cast<std::size_t>(trace.info().shape.head_dim);
    if (fate.merged.keys.size() != fate.merged.entries.size() * dim)
        throw format_error("reading " + result.file + ": the merged keys of layer " +
                           std::to_string(layer) + " have " +
                           std::to_string(fate.merged.keys.size() / fate.merged.entries.size()) +
                           " columns, but the trace has heads of " + std::to_string(dim) +
                           "; remove the file and replay again");
    return fate;
}

}  // namespace

EvaluatedHeads evaluate_results(const Trace& trace,
                                const std::vector<Result>& results,
                                int threads,
                                const StepReport& report) {
    const auto sequences = static_cast<std::size_t>(trace.sequences());
    const std::int32_t layers = trace.info().shape.layers;
    EvaluatedHeads heads(results.size(), std::vector<std::vector<HeadResult>>(sequences));
    LayerData data;
    std::int64_t done = 0;
    const std::int64_t steps =
        std::ssize(heads.empty() ? std::vector<std::vector<HeadResult>>() : heads[0]) * layers;
    for (std::size_t s = 0; s < sequences; ++s) {
        const auto sequence = static_cast<std::int32_t>(s);
        const std::string& name = trace.sequence(sequence).name;
        for (std::int32_t layer = 0; layer < layers; ++layer) {
            const std::vector<ActiveChain> active = active_chains(results, name, layer);
            report(++done, steps);
            if (active.empty())
                continue;
            std::vector<Chain> chains;
            for (const ActiveChain& chain : active)
                chains.push_back({.results = chain.results.size(),
                                  .schedule = Schedule::parse(results[chain.results[0]].schedule),
                                  .fate = [&](std::size_t i, std::int32_t, std::int32_t at) {
                                      return fate_of(
                                          results[chain.results[i]], chain.places[i], at, trace);
                                  }});
            const auto evaluated = evaluate_layer(trace, sequence, layer, chains, data, threads);
            for (std::size_t c = 0; c < active.size(); ++c)
                for (std::size_t i = 0; i < active[c].results.size(); ++i) {
                    auto& rows = heads[active[c].results[i]][s];
                    rows.insert(rows.end(), evaluated[c][i].begin(), evaluated[c][i].end());
                }
        }
    }
    return heads;
}

}  // namespace kvtape
