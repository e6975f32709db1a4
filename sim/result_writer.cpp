#include "sim/result_writer.hpp"

#include "core/error.hpp"
#include "sim/result_name.hpp"

#include <map>

namespace kvtape {
namespace {

DecisionSequence accounts(const Fate& fate,
                          const ReplayRequest& request,
                          const SequenceInfo& sequence) {
    const Shape& shape = request.trace->info().shape;
    const std::vector<Block> blocks = request.schedule.blocks(sequence);
    const auto last = static_cast<std::size_t>(request.schedule.last_decision(sequence));
    const Position end = blocks[last].end;
    std::int64_t kept = 0;
    for (std::size_t layer = 0; layer < fate.layers().size(); ++layer)
        for (std::int32_t head = 0; head < shape.kv_heads; ++head)
            kept += fate.kept(layer, head, end);
    const std::int64_t all = std::ssize(fate.layers()) * std::int64_t{shape.kv_heads} * end;
    return {.name = sequence.name,
            .kept_tokens = kept,
            .kept_bytes = kept * shape.entry_bytes(),
            .full_bytes = all * shape.entry_bytes(),
            .blocks = blocks};
}

DecisionInfo about(const Result& result,
                   const PolicyRun& policy,
                   const std::string& trace_fingerprint,
                   const Origin& origin) {
    return {.producer = origin.producer,
            .trace_fingerprint = trace_fingerprint,
            .policy = std::string(policy.info->name),
            .parameters = result.parameters,
            .budget = result.budget.text(),
            .schedule = result.schedule,
            .query_source = result.query_source,
            .loop = origin.loop,
            .fingerprint = "",
            .seed = result.seed};
}

}  // namespace

void expect_distinct(const std::vector<Result>& plan) {
    std::map<std::string, const Result*> files;
    for (const Result& result : plan) {
        const auto [place, is_new] = files.emplace(result.file, &result);
        if (!is_new && (place->second->policy != result.policy ||
                        place->second->budget.text() != result.budget.text()))
            throw usage_error("naming results: " + place->second->policy + " at " +
                              place->second->budget.text() + " and " + result.policy + " at " +
                              result.budget.text() + " would both be " + result.file +
                              "; run them into two directories");
    }
}

Result planned_result(const ReplayRequest& request, const PolicyRun& policy, const Budget& budget) {
    const std::string source(name_of(source_of(policy, request.source)));
    return {.file = result_file_name(policy.spec, budget.text(), request.schedule.text(), source),
            .policy = policy.spec,
            .parameters = to_text(policy.policy->parameters()),
            .budget = budget,
            .schedule = request.schedule.text(),
            .query_source = source,
            .seed = request.seed,
            .fingerprint = "",
            .decisions = nullptr};
}

ResultWriter::ResultWriter(const ResultDirectory& directory,
                           const ReplayRequest& request,
                           const PolicyRun& policy,
                           const Budget& budget,
                           const Origin& origin)
    : request_(request),
      result_(planned_result(request, policy, budget)),
      writer_(directory.path() / result_.file,
              about(result_, policy, request.trace->info().fingerprint, origin)) {}

void ResultWriter::add(const Fate& fate, const SequenceInfo& sequence) {
    writer_.begin_sequence(accounts(fate, request_, sequence),
                           request_.trace->info().shape.kv_heads,
                           sequence.length());
    for (std::size_t layer = 0; layer < fate.layers().size(); ++layer)
        writer_.write_layer(fate.layers()[layer], fate[layer]);
    writer_.end_sequence();
}

Result ResultWriter::finish() {
    result_.fingerprint = writer_.finish();
    return result_;
}

}  // namespace kvtape
