#include "sim/head_facts.hpp"

#include "sim/metrics/needle.hpp"

#include <algorithm>

namespace kvtape {

std::vector<MatrixView> HeadFacts::rows(RowRange range) const {
    std::vector<MatrixView> views;
    for (const auto& [weights, largest] : attention)
        views.push_back(
            view(weights.data() + range.first * weights.cols(), range.count, weights.cols()));
    return views;
}

HeadFacts facts_of(const TraceInfo& info,
                   const SequenceInfo& sequence,
                   std::int32_t layer,
                   const LayerData& data,
                   std::int32_t kv_head) {
    const RowRange probes = probe_rows(sequence), answers = answer_rows(sequence);
    const std::int32_t first = std::min(probes.count > 0 ? probes.first : answers.first,
                                        answers.count > 0 ? answers.first : probes.first);
    const std::int32_t end = std::max(probes.first + probes.count, answers.first + answers.count);
    HeadFacts facts{.attention = {},
                    .probes = {probes.first - first, probes.count},
                    .answers = {answers.first - first, answers.count},
                    .needle = needle_positions(sequence),
                    .needle_attention = {}};
    const std::int32_t group = info.shape.group();
    for (std::int32_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
        facts.attention.push_back(
            probe_attention(info.shape,
                            sequence,
                            info.sliding_window[static_cast<std::size_t>(layer)],
                            data,
                            head,
                            {first, end - first}));
    facts.needle_weight = needle_weight(facts.rows(facts.answers), facts.needle);
    facts.needle_attention = needle_attention(facts.rows(facts.answers), facts.needle);
    return facts;
}

}  // namespace kvtape
