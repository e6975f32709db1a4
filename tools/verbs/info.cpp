#include "core/json.hpp"
#include "policies/spec.hpp"
#include "tools/verb.hpp"
#include "trace/check.hpp"
#include "trace/decisions.hpp"
#include "trace/reader.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace kvtape::verbs {
namespace {

namespace options = boost::program_options;

constexpr std::array<const char*, 6> span_names = {
    "system", "context", "needle", "question", "answer", "distractor"};

std::int64_t size_of(const std::string& file) {
    std::error_code ignored;
    return static_cast<std::int64_t>(std::filesystem::file_size(file, ignored));
}

/// What the sequences of one task have in common.
struct Task {
    std::int64_t sequences = 0;
    std::int64_t judged = 0;
    std::int64_t correct = 0;
};

/// A smallest and a largest number of tokens.
struct Range {
    Position least = 0;
    Position most = 0;
    bool any = false;

    void include(Position value) {
        least = any ? std::min(least, value) : value;
        most = any ? std::max(most, value) : value;
        any = true;
    }
};

Json to_json(const Range& range) {
    return {range.least, range.most};
}

Json shape_json(const Shape& shape) {
    return {{"layers", shape.layers},
            {"query_heads", shape.query_heads},
            {"kv_heads", shape.kv_heads},
            {"head_dim", shape.head_dim},
            {"hidden_size", shape.hidden_size},
            {"softmax_scale", shape.softmax_scale},
            {"element_type", name_of(shape.element_type)}};
}

Json optional_parts(const Trace& trace) {
    LayerParts stored = trace.sequences() > 0 ? trace.stored(0) : LayerParts{};
    for (std::int32_t index = 1; index < trace.sequences(); ++index) {
        const LayerParts more = trace.stored(index);
        stored.attention = stored.attention && more.attention;
        stored.query_mean = stored.query_mean && more.query_mean;
        stored.query_covariance = stored.query_covariance && more.query_covariance;
        stored.replay_queries = stored.replay_queries && more.replay_queries;
        stored.replay_logsumexp = stored.replay_logsumexp && more.replay_logsumexp;
    }
    Json parts = Json::array();
    if (stored.attention)
        parts.push_back("attention");
    if (stored.replay_queries && stored.replay_logsumexp)
        parts.push_back("second pass");
    if (stored.query_mean && stored.query_covariance)
        parts.push_back("query statistics");
    if (trace.has_output_projections())
        parts.push_back("output projection");
    return parts;
}

/// Counts over all sequences of a trace.
struct Totals {
    std::map<std::string, Task> tasks;
    std::array<std::int64_t, span_names.size()> spans{};
    std::array<std::int64_t, span_names.size()> span_tokens{};
    Range context;
    Range prompt;
    Range generated;
    std::int64_t tokens = 0;
    std::set<std::string> devices;

    void include(const SequenceInfo& sequence) {
        Task& task = tasks[sequence.task];
        ++task.sequences;
        task.judged += sequence.correct >= 0 ? 1 : 0;
        task.correct += sequence.correct == 1 ? 1 : 0;
        for (const Span& span : sequence.spans) {
            const auto kind = static_cast<std::size_t>(span.kind);
            ++spans[kind];
            span_tokens[kind] += span.end - span.begin;
        }
        context.include(sequence.context_len);
        prompt.include(sequence.prompt_len);
        generated.include(sequence.generated());
        tokens += sequence.length();
        devices.insert(sequence.device);
    }
};

Json trace_json(const std::string& file, Unfinished unfinished) {
    const auto trace = open_trace(file, unfinished);
    const TraceInfo& info = trace->info();
    Totals totals;
    for (std::int32_t index = 0; index < trace->sequences(); ++index)
        totals.include(trace->sequence(index));
    Json tasks = Json::object();
    for (const auto& [name, task] : totals.tasks)
        tasks[name] = {
            {"sequences", task.sequences}, {"judged", task.judged}, {"correct", task.correct}};
    Json spans = Json::object();
    for (std::size_t kind = 0; kind < span_names.size(); ++kind)
        spans[span_names[kind]] = {{"count", totals.spans[kind]},
                                   {"tokens", totals.span_tokens[kind]}};
    return {{"kind", "trace"},
            {"file", file},
            {"bytes", size_of(file)},
            {"cache_bytes",
             totals.tokens * info.shape.layers * info.shape.kv_heads * info.shape.entry_bytes()},
            {"schema", info.schema},
            {"complete", info.complete},
            {"producer", info.producer},
            {"created_utc", info.created_utc},
            {"fingerprint", info.complete ? info.fingerprint : ""},
            {"model_id", info.model_id},
            {"shape", shape_json(info.shape)},
            {"optional", optional_parts(*trace)},
            {"devices", totals.devices},
            {"sequences", trace->sequences()},
            {"tokens", totals.tokens},
            {"context_len", to_json(totals.context)},
            {"prompt_len", to_json(totals.prompt)},
            {"generated", to_json(totals.generated)},
            {"tasks", tasks},
            {"spans", spans}};
}

Json decisions_json(const std::string& file, Unfinished unfinished) {
    const auto decisions = open_decisions(file, unfinished);
    const DecisionInfo& info = decisions->info();
    Json sequences = Json::array();
    for (std::int32_t index = 0; index < decisions->sequences(); ++index) {
        const DecisionSequence& sequence = decisions->sequence(index);
        sequences.push_back({{"name", sequence.name},
                             {"blocks", sequence.blocks.size()},
                             {"layers", decisions->layers(index).size()},
                             {"kv_heads", decisions->kv_heads(index)},
                             {"tokens", decisions->tokens(index)},
                             {"kept_tokens", sequence.kept_tokens},
                             {"kept_bytes", sequence.kept_bytes},
                             {"full_bytes", sequence.full_bytes}});
    }
    return {{"kind", "decisions"},
            {"file", file},
            {"bytes", size_of(file)},
            {"complete", info.complete},
            {"producer", info.producer},
            {"fingerprint", info.fingerprint},
            {"trace_fingerprint", info.trace_fingerprint},
            {"policy", info.policy},
            {"caveat", caveat_of(info.policy)},
            {"parameters", info.parameters},
            {"budget", info.budget},
            {"schedule", info.schedule},
            {"query_source", info.query_source},
            {"loop", info.loop},
            {"seed", info.seed},
            {"sequences", sequences}};
}

std::string text_of(const Json& value) {
    return value.is_string() ? value.get<std::string>() : to_text(value);
}

/// What a file says must not move the cursor of a terminal.
void print_row(const std::string& name, std::string value) {
    std::replace_if(
        value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    std::cout << name << std::string(name.size() < 14 ? 14 - name.size() : 1, ' ') << value << '\n';
}

void print_fields(const Json& json, std::initializer_list<const char*> names) {
    for (const char* name : names)
        print_row(name, text_of(json[name]));
}

std::string range_text(const Json& range) {
    const std::string least = text_of(range[0]);
    const std::string most = text_of(range[1]);
    return (least == most ? least : least + " to " + most) + " tokens";
}

void print_trace(const Json& json) {
    print_fields(json, {"file", "bytes", "producer", "created_utc", "model_id"});
    const Json& shape = json["shape"];
    print_row("shape",
              text_of(shape["layers"]) + " layers, " + text_of(shape["query_heads"]) +
                  " query heads, " + text_of(shape["kv_heads"]) + " KV heads, head_dim " +
                  text_of(shape["head_dim"]) + ", " + text_of(shape["element_type"]));
    std::string optional;
    for (const Json& part : json["optional"])
        optional += (optional.empty() ? "" : ", ") + text_of(part);
    print_row("also stored", optional.empty() ? "nothing" : optional);
    print_row("sequences",
              text_of(json["sequences"]) + ", " + text_of(json["tokens"]) + " tokens, cache " +
                  text_of(json["cache_bytes"]) + " bytes");
    print_row("context", range_text(json["context_len"]));
    print_row("prompt", range_text(json["prompt_len"]));
    print_row("generated", range_text(json["generated"]));
    for (const auto& [name, task] : json["tasks"].items())
        print_row("task",
                  name + ": " + text_of(task["sequences"]) + " sequences, " +
                      text_of(task["correct"]) + " of " + text_of(task["judged"]) +
                      " judged answers correct");
    for (const auto& [name, span] : json["spans"].items())
        if (span["count"] != 0)
            print_row("spans",
                      name + ": " + text_of(span["count"]) + " with " + text_of(span["tokens"]) +
                          " tokens");
    if (json["complete"] == true)
        print_row("fingerprint", text_of(json["fingerprint"]));
    else
        print_row("unfinished", "the writer did not complete this file");
}

void print_decisions(const Json& json) {
    print_fields(json,
                 {"file",
                  "bytes",
                  "producer",
                  "policy",
                  "parameters",
                  "budget",
                  "schedule",
                  "query_source",
                  "loop",
                  "seed"});
    if (json["caveat"] != "")
        print_row("caveat", text_of(json["caveat"]));
    for (const Json& sequence : json["sequences"])
        print_row("sequence",
                  text_of(sequence["name"]) + ": " + text_of(sequence["tokens"]) + " tokens, " +
                      text_of(sequence["blocks"]) + " blocks, kept " +
                      text_of(sequence["kept_bytes"]) + " of " + text_of(sequence["full_bytes"]) +
                      " bytes");
    print_row("of trace", text_of(json["trace_fingerprint"]));
    if (json["complete"] == true)
        print_row("fingerprint", text_of(json["fingerprint"]));
    else
        print_row("unfinished", "the writer did not complete this file");
}

void declare(options::options_description& own, options::positional_options_description& order) {
    own.add_options()("file",
                      options::value<std::string>()->required()->value_name("FILE"),
                      "a trace or a decision file");
    own.add_options()("partial",
                      options::bool_switch(),
                      "read the finished sequences of a file whose writer did not finish");
    order.add("file", 1);
}

int run(const Invocation& invocation) {
    const std::string file = invocation.values["file"].as<std::string>();
    const Unfinished unfinished =
        invocation.values["partial"].as<bool>() ? Unfinished::allow : Unfinished::refuse;
    const bool trace = kind_of(file) == FileKind::trace;
    const Json json = trace ? trace_json(file, unfinished) : decisions_json(file, unfinished);
    if (invocation.common.json)
        std::cout << to_text(json) << '\n';
    else if (trace)
        print_trace(json);
    else
        print_decisions(json);
    return exit_done;
}

}  // namespace

Verb info() {
    return {.name = "info",
            .synopsis = "info FILE",
            .summary = "prints what a trace or a decision file holds: shapes, tasks, sizes, spans",
            .examples =
                "  kvtape info run.kvtape.h5\n"
                "  kvtape info run.kvtape.h5.partial --partial\n"
                "  kvtape info run.kvtape.h5 --json\n",
            .declare = declare,
            .run = run};
}

}  // namespace kvtape::verbs
